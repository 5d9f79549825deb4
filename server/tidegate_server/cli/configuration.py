"""`tidegate export`, `plan`, `apply` and `drift`: a project's configuration as files."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tidegate_server.cli.exit_codes import NOT_REACHED, REFUSED
from tidegate_server.cli.formatting import count
from tidegate_server.cli.options import (
    Decorator,
    confirm,
    decorated_with,
    output_option,
    project_options,
    read_object,
    reason_option,
    yes_option,
)
from tidegate_server.cli.output import JSON, print_json, print_stderr, print_text
from tidegate_server.errors import FieldProblem, ServerRefused, StartupRefused

if TYPE_CHECKING:
    from tidegate_server.cli.api_client import ApiClient, Json
    from tidegate_server.cli.project_folder import ProjectFolder
    from tidegate_server.documents.project_files import ObjectPlace

SECONDS = 200.0
"""How long to wait for the server: thousands of objects take it up to a minute or two."""

PLAN_FILE = 1
"""The version of the form of a plan file."""

DIRECTORY = click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))

PRUNE = click.option(
    "--prune", is_flag=True,
    help="Delete what the project has and the files do not; environments always stay.",
)  # fmt: skip


@click.command("export")
@click.argument("directory", metavar="[DIR]", type=click.Path(path_type=Path), required=False)
@click.option("--prune", is_flag=True, help="Delete files of what the project does not have.")
@output_option
@project_options
def export(client: ApiClient, directory: Path | None, prune: bool, output: str) -> None:
    """Write a project's configuration to files: one folder, one YAML file for each object.

    DIR gets project.yaml and the folders environments, flags, segments, policies, webhooks and
    hooks. A file that already says the same stays as it is, with its comments. Secrets are not
    exported. Without DIR, use `-o json` to print everything.
    """
    from tidegate_server.cli.project_folder import ProjectFolder, exported_places, write_folder

    if directory is None and output != JSON:
        raise click.UsageError("Give the folder to write to, or -o json to print everything.")
    folder = ProjectFolder(Path()) if directory is None else ProjectFolder.read(directory)
    client.seconds = SECONDS
    exported = client.get(client.project_path("export")).body
    schemas = exported.pop("schemas")
    if output == JSON:
        print_json(exported)
    if directory is None:
        return
    places = exported_places(exported)
    unchanged = _unchanged(client, folder, places)
    written = write_folder(folder, places, schemas, unchanged, prune=prune)
    files = count(written.written, "file")
    print_stderr(f"{files} written to {directory}, {written.unchanged:,} unchanged.")
    if written.left_over:
        done = "Deleted" if prune else "Not in the project (--prune deletes them)"
        print_stderr(f"{done}: {', '.join(written.left_over)}")


def _unchanged(
    client: ApiClient, folder: ProjectFolder, places: dict[ObjectPlace, Json]
) -> list[ObjectPlace]:
    """Return the objects whose files say what the project has, though perhaps in other words."""
    if folder.is_empty:
        return []
    answer = _plan(client, folder, prune=False)
    if answer["problems"]:
        return [each.place for each in folder.all() if places.get(each.place) == each.item]
    changed = {
        ("flag" if each["kind"] == "targeting" else each["kind"], each["key"])
        for each in answer["documents"]
    }
    return [
        each.place
        for each in folder.all()
        if each.place in places
        and (each.place.kind, each.place.key) not in changed
        # What a flag serves where its file does not say anything is not compared.
        and each.item.get("targeting", {}).keys() == places[each.place].get("targeting", {}).keys()
    ]


@click.command("plan")
@DIRECTORY
@PRUNE
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="FILE",
    help="Write the plan to a file, for `tidegate apply --plan-file`.",
)  # fmt: skip
@output_option
@project_options
def plan(client: ApiClient, directory: Path, prune: bool, out: Path | None, output: str) -> None:
    """Show what applying the files in DIR would change, and whom it would affect.

    Changes nothing. Exit status 3: the files have problems, each shown with its file and line.
    """
    folder, answer = _read_and_plan(client, directory, prune=prune)
    _print_plan(client, answer, folder, output)
    if answer["problems"]:
        sys.exit(REFUSED)
    if out is not None:
        content = {
            "tidegate_plan": PLAN_FILE,
            "project": client.target.project,
            "configuration": {**folder.configuration(), "prune": prune},
            "answer": answer,
        }
        try:
            out.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
        except OSError as error:
            raise StartupRefused(f"Cannot write {out}: {error.strerror}.") from None
        print_stderr(f"Plan written to {out}.")


APPLY_OPTIONS: Decorator = decorated_with(PRUNE, reason_option, yes_option, output_option)


@click.command("apply")
@click.argument("directory", metavar="[DIR]", type=click.Path(path_type=Path), required=False)
@click.option(
    "--plan-file", "plan_file", type=read_object, metavar="FILE",
    help="Apply the plan in this file, written by `tidegate plan --out`.",
)  # fmt: skip
@APPLY_OPTIONS
@project_options
def apply(
    client: ApiClient,
    directory: Path | None,
    plan_file: Json | None,
    prune: bool,
    reason: str,
    yes: bool,
    output: str,
) -> None:
    """Make a project what the files in DIR say: all of it in one change, or nothing.

    Shows the plan and asks first. The server refuses the change if the plan is no longer right
    by then.
    """
    if (directory is None) == (plan_file is None):
        raise click.UsageError("Give the folder with the files, or --plan-file.")
    if directory is not None:
        _apply_folder(client, directory, prune, reason, yes, output)
    elif plan_file is not None:
        if prune:
            raise click.UsageError("Give --prune to `tidegate plan`; the plan file has it.")
        _apply_plan_file(client, plan_file, reason, yes, output)


@click.command("import")
@DIRECTORY
@click.option("--plan", "only_plan", is_flag=True, help="Show the plan and change nothing.")
@APPLY_OPTIONS
@project_options
def import_(
    client: ApiClient,
    directory: Path,
    only_plan: bool,
    prune: bool,
    reason: str,
    yes: bool,
    output: str,
) -> None:
    """Do the same as `tidegate apply`, or with --plan as `tidegate plan`."""
    if not only_plan:
        return _apply_folder(client, directory, prune, reason, yes, output)
    folder, answer = _read_and_plan(client, directory, prune=prune)
    _print_plan(client, answer, folder, output)
    return sys.exit(REFUSED) if answer["problems"] else None


@click.command("drift")
@DIRECTORY
@output_option
@project_options
def drift(client: ApiClient, directory: Path, output: str) -> None:
    """Compare a project with the files in DIR, for example every night.

    Exit status 0: the project is as the files say; 5: it differs, and the difference is printed;
    3: the files have problems, so not everything was compared.
    """
    folder, answer = _read_and_plan(client, directory, prune=False)
    answer = _with_what_only_the_project_has(answer)
    _print_plan(client, answer, folder, output)
    if answer["problems"]:
        sys.exit(REFUSED)
    if answer["documents"]:
        sys.exit(NOT_REACHED)


def _with_what_only_the_project_has(answer: Json) -> Json:
    """Return a plan in which what the files lack differs, too, except environments.

    It differs whether or not an import could delete it: a flag that is not archived, for example.
    """
    lacking = [each for each in answer["kept"] if each["kind"] != "environment"]
    deleted = {"action": "delete", "environment": "", "pointer": "", "changes": []}
    return {
        **answer,
        "documents": [
            *({**each, **deleted, "changes_left_out": 0} for each in lacking),
            *answer["documents"],
        ],
        "deleted": len(lacking),
        "kept": [each for each in answer["kept"] if each not in lacking],
    }


def _read_and_plan(
    client: ApiClient, directory: Path, *, prune: bool
) -> tuple[ProjectFolder, Json]:
    from tidegate_server.cli.project_folder import ProjectFolder

    client.seconds = SECONDS
    folder = ProjectFolder.read(directory)
    if folder.is_empty:
        raise StartupRefused(
            f"There are no files of a project in {directory}; `tidegate export {directory}` "
            "writes them."
        )
    return folder, _plan(client, folder, prune=prune)


def _plan(client: ApiClient, folder: ProjectFolder, *, prune: bool) -> Json:
    body = {**folder.configuration(), "prune": prune}
    return client.compute(client.project_path("plan"), body)


def _apply_folder(
    client: ApiClient, directory: Path, prune: bool, reason: str, yes: bool, output: str
) -> None:
    folder, answer = _read_and_plan(client, directory, prune=prune)
    body = {**folder.configuration(), "prune": prune}
    _apply(client, body, answer, folder, reason, yes, output)


def _apply_plan_file(
    client: ApiClient, plan_file: Json, reason: str, yes: bool, output: str
) -> None:
    if plan_file.get("tidegate_plan") != PLAN_FILE:
        raise click.UsageError("This is not a plan file; `tidegate plan DIR --out FILE` makes one.")
    if plan_file["project"] != client.target.project:
        raise click.UsageError(
            f"The plan is for project {plan_file['project']}, and the command for "
            f"{client.target.project}; give --project {plan_file['project']}."
        )
    client.seconds = SECONDS
    answer = plan_file["answer"]
    _apply(client, plan_file["configuration"], answer, None, reason, yes, output)


def _apply(
    client: ApiClient,
    body: Json,
    answer: Json,
    folder: ProjectFolder | None,
    reason: str,
    yes: bool,
    output: str,
) -> None:
    if output != JSON or answer["problems"]:
        _print_plan(client, answer, folder, output)
    if answer["problems"]:
        sys.exit(REFUSED)
    if not answer["documents"]:
        return print_json(answer) if output == JSON else None
    numbers = (f"{answer[name]:,} {name}" for name in ("created", "edited", "deleted"))
    confirm(f"Apply this to project {client.target.project} ({', '.join(numbers)})?", yes)
    path = client.project_path("apply")
    try:
        applied = client.post(path, {**body, "plan": answer["plan"]}, reason)
    except ServerRefused as refused:
        if folder is None or not refused.fields:
            raise
        fields = [
            FieldProblem(folder.place_of(each.pointer), each.detail) for each in refused.fields
        ]
        raise ServerRefused("Nothing was changed:", refused.status, *fields) from None
    if output == JSON:
        return print_json(applied)
    if not applied["documents"]:
        return print_text("Nothing is left to change: the project is as the files say.")
    versions = (f"{name} {version:,}" for name, version in sorted(applied["versions"].items()))
    shown = ", ".join(versions)
    return print_text(f"Applied{f'; new versions: {shown}' if shown else ''}.")


def _print_plan(client: ApiClient, answer: Json, folder: ProjectFolder | None, output: str) -> None:
    from tidegate_server.cli.plan_view import plan_lines

    if output == JSON:
        return print_json(_with_files(answer, folder))
    return print_text("\n".join(plan_lines(answer, folder, client.target.project)))


def _with_files(answer: Json, folder: ProjectFolder | None) -> Json:
    """Return a plan whose documents and problems name their file and line."""
    if folder is None:
        return answer

    def placed(items: Iterable[Json]) -> list[Any]:
        found = []
        for each in items:
            file, line, inner = (
                folder.location(each["pointer"]) if each["pointer"] else ("", None, "")
            )
            found.append({**each, "file": file, "line": line, "pointer": inner} if file else each)
        return found

    return {
        **answer,
        "documents": placed(answer["documents"]),
        "problems": placed(answer["problems"]),
    }
