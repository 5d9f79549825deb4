"""`tidegate code-refs push`, `list`, `show`, `flags`, `forget`: uses of flags on the server."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tidegate_server.cli.code_refs import (
    code_refs,
    context_option,
    flag_keys,
    new_scan,
    path_argument,
    print_notes,
    settings_option,
    summary,
)
from tidegate_server.cli.formatting import instant
from tidegate_server.cli.options import confirm, output_option, project_options, yes_option
from tidegate_server.cli.output import (
    JSON,
    Columns,
    print_facts,
    print_json,
    print_list,
    print_stderr,
    print_text,
)
from tidegate_server.domain.code_references import MAX_FLAGS, MAX_USES, CodeUseKind
from tidegate_server.errors import StartupRefused

if TYPE_CHECKING:
    from tidegate_server.cli.api_client import ApiClient, Json
    from tidegate_server.code_refs.uses import ScanResult, Use

MAX_USES_OF_FLAG = 100
MAX_SOURCE = 4_000


@code_refs.command("push")
@path_argument
@click.option(
    "--repository", metavar="NAME",
    help="Repository.  [GITHUB_REPOSITORY or CI_PROJECT_PATH]",
)  # fmt: skip
@click.option("--commit", metavar="SHA", help="Commit.  [HEAD of PATH]")
@click.option(
    "--branch", metavar="NAME",
    help="Branch.  [GITHUB_REF_NAME, CI_COMMIT_REF_NAME, or that of PATH]",
)  # fmt: skip
@click.option(
    "--default-branch", metavar="NAME",
    help="The branch of the released code.  [CI_DEFAULT_BRANCH, or main]",
)  # fmt: skip
@click.option(
    "--url-template", metavar="URL",
    help="URL of a line, with {commit}, {branch}, {path}, {line}.  [that of GitHub or GitLab]",
)  # fmt: skip
@click.option(
    "--with-source", is_flag=True,
    help="Send the lines of source code, too; everybody who may read the project sees them.",
)  # fmt: skip
@context_option
@click.option("--force", is_flag=True, help="Replace a later commit, too.")
@click.option("--dry-run", is_flag=True, help="Print what would be sent, and send nothing.")
@settings_option
@output_option
@project_options
def push_command(
    client: ApiClient,
    path: Path,
    repository: str | None,
    commit: str | None,
    branch: str | None,
    default_branch: str | None,
    url_template: str | None,
    with_source: bool,
    context_lines: int,
    force: bool,
    dry_run: bool,
    settings_file: str | None,
    output: str,
) -> None:
    """Send where the code in PATH uses flags.

    The server keeps the latest commit of each branch. Names of files and lines are sent, and no
    source code without --with-source. Needs the permission `code`.
    """
    keys = flag_keys(client)
    lines = context_lines if with_source else None
    found = new_scan(path, keys, settings_file, lines).run()
    body = {
        **_commit(path, repository, commit, branch, default_branch, url_template, os.environ),
        "flags": flags_of(found, keys, _prefix(path)),
        "force": force,
    }
    print_notes(found)
    if dry_run:
        return print_json(body)
    pushed = client.post(client.project_path("code-references"), body)
    if output == JSON:
        return print_json(pushed)
    where = f"{pushed['repository']}, branch {pushed['branch']}"
    if not pushed["kept"]:
        return print_stderr(
            f"Not kept: the server has the later commit {pushed['commit'][:12]} of {where}. Use "
            "--force to replace it."
        )
    return print_text(
        f"{summary(found, _counted(found, keys))} Sent for {where}, commit {pushed['commit'][:12]}."
    )


def flags_of(found: ScanResult, keys: set[str], prefix: str) -> list[Json]:
    """Return the uses of each flag as the API takes them, within its limits."""
    by_flag: dict[str, list[Use]] = {}
    for use in _counted(found, keys):
        by_flag.setdefault(use.flag, []).append(use)
    limit = min(MAX_USES_OF_FLAG, max(1, MAX_USES // max(1, len(by_flag))))
    flags = []
    for flag, uses in sorted(by_flag.items())[:MAX_FLAGS]:
        kinds = Counter(use.kind is CodeUseKind.TEST for use in uses)
        # Calls first: of many uses, they say most.
        shown = sorted(uses, key=lambda use: (use.kind is not CodeUseKind.CALL, use.path, use.line))
        flags.append(
            {
                "flag": flag,
                "total": kinds[False],
                "tests": kinds[True],
                "uses": [
                    {
                        "path": f"{prefix}{use.path}",
                        "line": use.line,
                        "kind": use.kind.value,
                        "source": _without_control_characters(use.source),
                    }
                    for use in shown[:limit]
                ],
            }
        )
    return flags


def _counted(found: ScanResult, keys: set[str]) -> list[Use]:
    """Return the uses of known flags, and calls that certainly ask for another one."""
    return [
        use
        for use in found.uses
        if use.flag in keys or (use.certain and use.kind is CodeUseKind.CALL)
    ]


def _without_control_characters(source: str) -> str:
    kept = (each for each in source if each in "\n\t" or each.isprintable())
    return "".join(kept)[:MAX_SOURCE]


def _commit(
    path: Path,
    repository: str | None,
    commit: str | None,
    branch: str | None,
    default_branch: str | None,
    url_template: str | None,
    variables: Mapping[str, str],
) -> dict[str, Any]:
    """Return which commit is scanned, from options, a pipeline's variables, and git.

    Raises:
        StartupRefused: something is missing; names the option.
    """
    repository = (
        repository or variables.get("GITHUB_REPOSITORY") or variables.get("CI_PROJECT_PATH")
    )
    if not repository:
        raise StartupRefused("The name of the repository is missing: use --repository NAME.")
    log = _git(path, "log", "-1", "--format=%H %cI", commit or "HEAD", "--")
    if log is None:
        raise StartupRefused(
            f"git does not know the commit {commit} in {path}."
            if commit
            else f"{path} has no commit: run this in a checkout of the repository."
        )
    found_commit, committed_at = log.split()
    branch = (
        branch
        or variables.get("GITHUB_HEAD_REF")
        or variables.get("GITHUB_REF_NAME")
        or variables.get("CI_COMMIT_REF_NAME")
        or _git(path, "symbolic-ref", "--short", "HEAD")
    )
    if not branch:
        raise StartupRefused("The checkout is of no branch: use --branch NAME.")
    default_branch = default_branch or variables.get("CI_DEFAULT_BRANCH") or "main"
    if url_template is None:
        url_template = _known_url_template(variables)
    return {
        "repository": repository,
        "branch": branch,
        "commit": found_commit,
        "committed_at": committed_at,
        "is_default": branch == default_branch,
        "url_template": url_template,
    }


def _known_url_template(variables: Mapping[str, str]) -> str:
    if (server := variables.get("GITHUB_SERVER_URL")) and "GITHUB_REPOSITORY" in variables:
        return f"{server}/{variables['GITHUB_REPOSITORY']}/blob/{{commit}}/{{path}}#L{{line}}"
    if project := variables.get("CI_PROJECT_URL"):
        return f"{project}/-/blob/{{commit}}/{{path}}#L{{line}}"
    return ""


def _git(path: Path, *arguments: str) -> str | None:
    from tidegate_server.code_refs.source_files import git_output

    text = git_output(path, *arguments)
    return text.strip() if text else None


def _prefix(path: Path) -> str:
    """Return the path from the repository's root to a folder, with ``/`` at its end."""
    return _git(path, "rev-parse", "--show-prefix") or ""


BRANCHES: Columns = {
    "repository": "repository",
    "branch": "branch",
    "default": "is_default",
    "commit": lambda each: each["commit"][:12],
    "flags": "flags",
    "uses": "uses",
    "pushed": lambda each: instant(each["pushed_at"]),
    "by": "pushed_by",
    "expires": lambda each: instant(each["expires_at"]) or "never",
}

FLAGS: Columns = {
    "flag": "flag",
    "exists": "exists",
    "uses": "uses",
    "tests": "tests",
    "repositories": lambda each: ", ".join(each["repositories"]),
    "gone since": lambda each: instant(each["gone_since"]),
}


@code_refs.command("list")
@output_option
@project_options
def list_command(client: ApiClient, output: str) -> None:
    """List the branches that were pushed."""
    items = client.list(client.project_path("code-references")).items
    empty = f"No code was pushed to project {client.target.project}. See `code-refs push`."
    print_list(items, BRANCHES, output, empty=empty)


@code_refs.command("show")
@click.argument("key")
@click.option("--all-branches", is_flag=True, help="Show all branches, not only default ones.")
@output_option
@project_options
def show_command(client: ApiClient, key: str, all_branches: bool, output: str) -> None:
    """Show where code uses the flag KEY."""
    query = {"all_branches": "true"} if all_branches else {}
    found = client.get(client.project_path("flags", key, "code-references"), **query).body
    if output == JSON:
        return print_json(found)
    print_facts(
        [
            ("flag", key if found["exists"] else f"{key} (there is no such flag)"),
            ("uses", found["uses"]),
            ("set by tests", found["tests"]),
            ("gone since", instant(found["gone_since"])),
        ]
    )
    for branch in found["branches"]:
        print_text(f"\n{branch['repository']}, branch {branch['branch']}, {branch['commit'][:12]}")
        _print_places(branch["uses"], branch["total"] + branch["tests"])
    return None


def _print_places(uses: Sequence[Json], total: int) -> None:
    for use in uses:
        source = use["source"].strip().split("\n")[0]
        print_text(
            f"  {use['path']}:{use['line']} ({use['kind']})"
            f"{'  ' + use['url'] if use['url'] else ''}{'  ' + source if source else ''}"
        )
    if total > len(uses):
        print_text(f"  and {total - len(uses):,} more")


@code_refs.command("flags")
@click.option("--without-code", is_flag=True, help="Only flags that no code uses.")
@click.option("--unknown", is_flag=True, help="Only keys that code asks for and that are no flags.")
@output_option
@project_options
def flags_command(client: ApiClient, without_code: bool, unknown: bool, output: str) -> None:
    """List flags with how often the default branches use them."""
    if without_code and unknown:
        raise click.UsageError("Give either --without-code or --unknown.")
    query = {"state": "without_code"} if without_code else {"state": "unknown"} if unknown else {}
    path = client.project_path("code-references", "flags")
    if without_code and not client.get(path, limit="1").body["is_known"]:
        raise StartupRefused(
            "Nothing is known of any code, so every flag would be listed. Run `tidegate code-refs "
            "push` on the default branch first."
        )
    print_list(client.list(path, None, **query).items, FLAGS, output, empty="No such flags.")


@code_refs.command("forget")
@click.argument("repository")
@click.option("--branch", metavar="NAME", help="Only this branch.")
@yes_option
@project_options
def forget_command(client: ApiClient, repository: str, branch: str | None, yes: bool) -> None:
    """Forget the code of a repository that is no longer there."""
    what = f"branch {branch} of {repository} uses" if branch else f"all of {repository} uses"
    confirm(f"Forget where {what} flags?", yes)
    query = {"repository": repository} | ({"branch": branch} if branch else {})
    client.remove(client.project_path("code-references"), **query)
    print_text(f"Forgot {what}.")
