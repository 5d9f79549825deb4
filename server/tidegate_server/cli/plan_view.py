"""Shows the plan of an import to a reviewer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tidegate_server.cli.formatting import count
from tidegate_server.cli.project_folder import ProjectFolder

SIGNS = {"create": "+", "edit": "~", "delete": "-", "archive": "~", "unarchive": "~"}
MAX_KEPT = 20

Json = dict[str, Any]


def plan_lines(plan: Json, folder: ProjectFolder | None, project: str) -> Iterator[str]:
    """Yield the lines that show a plan.

    Args:
        plan: the server's answer.
        folder: the files; None: only the plan is at hand.
        project: the project's key.
    """
    if not plan["documents"] and not plan["problems"]:
        yield f"Project {project} is as the files say: {count(plan['unchanged'], 'document')}."
    for document in plan["documents"]:
        yield from _document_lines(document, folder)
    yield from _affected_lines(plan)
    yield from _kept_lines(plan)
    yield from _problem_lines(plan, folder)
    if plan["documents"]:
        numbers = (f"{plan[name]:,} {name}" for name in ("created", "edited", "deleted"))
        yield f"Project {project}: {', '.join(numbers)}, {plan['unchanged']:,} unchanged."


def _document_lines(document: Json, folder: ProjectFolder | None) -> Iterator[str]:
    action = document["action"]
    kind = "flag" if document["kind"] == "targeting" else document["kind"]
    where = f" in {document['environment']}" if document["environment"] else ""
    verb = f" ({action}d)" if action in ("archive", "unarchive") else ""
    file = "" if folder is None else folder.file_of(document["pointer"])
    name = f"{SIGNS[action]} {kind} {document['key']}{where}{verb}"
    yield f"{name}  {file}" if file else name
    for change in document["changes"]:
        yield f"    {change['text']}"
    if document["changes_left_out"]:
        yield f"    and {document['changes_left_out']:,} more fields"


def _affected_lines(plan: Json) -> Iterator[str]:
    for each in plan["affected"]:
        flags, segments = count(each["flags"], "flag"), count(each["segments"], "segment")
        instances = count(each["instances"], "live instance")
        yield f"Affects {each['environment']}: {flags}, {segments}, {instances}."
        users = each.get("users")  # earlier servers have none
        if users is not None:
            yield f"  {users['text']}"
            yield from (f"  {caveat}" for caveat in users["caveats"])
        if each["killed"]:
            yield f"  Killed there, and stays killed: {', '.join(each['killed'])}."
        for release in each["releases"]:
            restart = "; its evidence starts again" if release["evidence_restarts"] else ""
            name = f"{release['release']} of {release['flag']}"
            yield f"  Release {name} is {release['state']}{restart}."


def _kept_lines(plan: Json) -> Iterator[str]:
    kept = [f"{each['kind']} {each['key']}" for each in plan["kept"]]
    if kept:
        more = f" and {len(kept) - MAX_KEPT:,} more" if len(kept) > MAX_KEPT else ""
        yield f"Not in the files, and kept: {', '.join(kept[:MAX_KEPT])}{more}."


def _problem_lines(plan: Json, folder: ProjectFolder | None) -> Iterator[str]:
    if not plan["problems"]:
        return
    yield "The files cannot be applied:"
    for problem in plan["problems"]:
        yield f"  {problem_place(problem, folder)}: {problem['detail']}"
    if plan["problems_left_out"]:
        yield f"  and {plan['problems_left_out']:,} more problems"


def problem_place(problem: Json, folder: ProjectFolder | None) -> str:
    """Return the file, the line and the pointer of a problem, or what it is about."""
    if folder is not None and folder.file_of(problem["pointer"]):
        return folder.place_of(problem["pointer"])
    where = f" in {problem['environment']}" if problem["environment"] else ""
    return f"{problem['kind']} {problem['key']}{where}"
