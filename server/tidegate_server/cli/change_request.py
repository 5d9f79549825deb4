"""`tidegate change-request`: changes that wait until other people approve them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import click

from tidegate_server.cli.api_client import ApiClient, Document, Json, api_path
from tidegate_server.cli.audit import change_text
from tidegate_server.cli.formatting import count, instant
from tidegate_server.cli.options import (
    Decorator,
    confirm,
    decorated_with,
    output_option,
    project_options,
    read_object,
    yes_option,
)
from tidegate_server.cli.output import (
    JSON,
    Columns,
    print_facts,
    print_json,
    print_list,
    print_stderr,
    print_text,
)

STATES = ("proposed", "approved", "rejected", "withdrawn", "applied", "expired")

CHANGES_SHOWN = 50

COLUMNS: Columns = {
    "id": "id",
    "state": "state",
    "approvals": lambda each: f"{len(each['approvals'])} of {each['required_approvals']}",
    "what": lambda each: ", ".join(
        f"{action['action']} {action['target']}" for action in each["actions"]
    ),
    "by": "owner",
    "reason": "reason",
    "expires": lambda each: instant(each["expires_at"]),
}

SERVER_OPTION = click.option(
    "--server", "of_server", is_flag=True,
    help="Those of the server: tokens, people, projects.",
)  # fmt: skip


@click.group("change-request")
def change_request() -> None:
    """Review and apply changes that wait for approval.

    Every command that changes something takes --propose WHY: it then makes a change request.
    """


@change_request.command("list")
@click.option("--state", type=click.Choice(STATES), help="Only those in this state.")
@SERVER_OPTION
@output_option
@project_options
def list_change_requests(
    client: ApiClient, state: str | None, of_server: bool, output: str
) -> None:
    """List change requests, the latest first."""
    query = {"state": state} if state is not None else {}
    items = client.list(_path(client, of_server), None, **query).items
    print_list(items, COLUMNS, output, empty="No change requests.")


@change_request.command("show")
@click.argument("id", metavar="ID")
@output_option
@project_options
def show_change_request(client: ApiClient, id: str, output: str) -> None:
    """Show a change request: what it changes, who approved it, what people say."""
    _, document = _find(client, id)
    if output == JSON:
        return print_json(document.body)
    return _print_request(document.body)


@change_request.command("create")
@click.argument("request", metavar="FILE", type=read_object)
@SERVER_OPTION
@output_option
@project_options
def create_change_request(client: ApiClient, request: Json, of_server: bool, output: str) -> None:
    """Propose the operations in a file as one change.

    The file has the body of the request: reason, operations (method, path, body, if_match), and
    optionally apply (by_hand, on_approval) and expires_in.
    """
    created = client.post(_path(client, of_server), request)
    if output == JSON:
        return print_json(created)
    return print_text(f"Change request {created['id']} proposed.")


@change_request.command("approve")
@click.argument("id", metavar="ID")
@click.option("--comment", default="", help="Your words about it.")
@yes_option
@output_option
@project_options
def approve(client: ApiClient, id: str, comment: str, yes: bool, output: str) -> None:
    """Approve a change request of another person, after you have seen it."""
    path, document = _find(client, id)
    if not yes:
        _print_request(document.body)
    confirm(f"Approve change request {id}?", yes)
    after = client.post(f"{path}/approve", {"reason": comment}, etag=document.etag)
    if output == JSON:
        return print_json(after)
    if after["problem"]:
        print_stderr(f"tidegate: It was not applied: {after['problem']}")
    return print_text(_state_text(after))


def _add_action(verb: str, help: str, *options: Decorator) -> None:
    """Add a command that calls the action's route with its options."""

    @change_request.command(verb, help=help)
    @click.argument("id", metavar="ID")
    @decorated_with(*options, output_option, project_options)
    def act(client: ApiClient, id: str, output: str, **body: Any) -> None:
        path, document = _find(client, id)
        after = client.post(f"{path}/{ROUTES.get(verb, verb)}", body, etag=document.etag)
        for answer in after["answers"] or ():
            if answer and "secret" in answer and output != JSON:
                print_stderr("Copy this secret now, it is not shown again:")
                print_text(answer["secret"])
        if output == JSON:
            return print_json(after)
        return print_text(_state_text(after))


ROUTES = {"comment": "comments"}

_REASON = click.option("--reason", default="", help="Why.")

_add_action("reject", "Reject a change request: it will not be applied.", _REASON)
_add_action("withdraw", "Withdraw your change request: it will not be applied.", _REASON)
_add_action("comment", "Add a comment to a change request.", click.argument("text"))
_add_action("apply", "Make the change of an approved change request.", _REASON)


def _path(client: ApiClient, of_server: bool, *parts: str) -> str:
    make: Callable[..., str] = api_path if of_server else client.project_path
    return make("change-requests", *parts)


def _find(client: ApiClient, id: str) -> tuple[str, Document]:
    """Return the path and the document of a change request of the project or of the server."""
    path = _path(client, False, id)
    found = client.get_if_exists(path)
    if found is not None:
        return path, found
    path = _path(client, True, id)
    return path, client.get(path)


def _state_text(request: Json) -> str:
    text = f"Change request {request['id']}: {request['state']}"
    missing = request["required_approvals"] - len(request["approvals"])
    if request["state"] == "proposed" and missing > 0:
        text += f"; {count(missing, 'approval')} missing"
    return f"{text}."


def _print_request(request: Json) -> None:
    print_facts(_facts(request))
    for comment in request["comments"]:
        print_text(f"{comment['actor']}, {instant(comment['at'])}: {comment['text']}")
    present = request["present"]
    if present is not None and present["problem"]:
        print_stderr(f"It cannot be applied now: {present['problem']}")


def _facts(request: Json) -> Iterator[tuple[str, object]]:
    yield "change request", request["id"]
    yield "state", request["state"]
    yield "reason", request["reason"]
    yield "proposed by", f"{request['owner']}, {instant(request['created_at'])}"
    yield "expires", instant(request["expires_at"])
    yield "apply", request["apply"].replace("_", " ")
    yield (
        "protected",
        ", ".join(f"{each['environment']} of {each['project']}" for each in request["places"]),
    )
    yield "approvals", f"{len(request['approvals'])} of {request['required_approvals']}"
    for each in request["approvals"]:
        said = f": {each['comment']}" if each["comment"] else ""
        yield "approved by", f"{each['actor']}, {instant(each['at'])}{said}"
    if request["closed"] is not None:
        closed = request["closed"]
        why = f": {closed['reason']}" if closed["reason"] else ""
        yield f"{request['state']} by", f"{closed['actor']}, {instant(closed['at'])}{why}"
    for each in request["actions"]:
        where = f" in {each['environment']}" if each["environment"] else ""
        yield "does", f"{each['action']} {each['target']}{where}"
    present = request["present"]
    changes = request["changes"] if present is None else (present["changes"] or request["changes"])
    # What has no key of its own, such as a token, gets another id whenever the change is made.
    lasting = {document["key"] for document in request["changes"]}
    lines = []
    for document in changes:
        name = document["key"] if document["key"] in lasting else f"new {document['kind']}"
        lines += [f"{name}: {change_text(change)}" for change in document["changes"]]
    for line in lines[:CHANGES_SHOWN]:
        yield "changes", line
    if len(lines) > CHANGES_SHOWN:
        yield "changes", f"and {len(lines) - CHANGES_SHOWN:,} more; use --output json"
