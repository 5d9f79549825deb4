"""Writes a flag and what it serves in one environment from a file, in one change."""

from __future__ import annotations

from tidegate_server.cli.api_client import ApiClient, Document, Json
from tidegate_server.cli.flag import FLAG, TARGETING
from tidegate_server.cli.output import JSON, print_json, print_text
from tidegate_server.cli.put_commands import check_read_only, check_revision, document_key
from tidegate_server.cli.resource_commands import writable_fields
from tidegate_server.errors import FieldProblem, ServerRefused, Unreadable

PART = "/flags/0"
"""Where the flag is in the configuration that is sent."""


def put_flag_file(client: ApiClient, file: Json, reason: str, output: str) -> None:
    """Create or replace a flag, and print it as `tidegate flag show` does.

    Raises:
        Unreadable: the file says something else of what only the server sets.
        ServerRefused: the flag is not valid, or has changed since the file was written.
    """
    key = document_key(FLAG, file)
    definition = client.get_if_exists(FLAG.path(client, key))
    check_read_only("flag", file, definition, FLAG.read_only)
    check_revision(f"Flag {key}", file, definition)
    part = writable_fields(file, *FLAG.read_only)
    if file.get("archived") is not None:
        part["archived"] = True
    environment = client.target.environment
    if "targeting" in part:
        part["targeting"] = {environment: _targeting(client, key, part["targeting"], definition)}
    part.setdefault("type", "boolean")
    configuration = {"flags": [part]}
    plan = client.compute(client.project_path("plan"), configuration)
    # The server refuses a configuration with problems, and names every one.
    body = configuration if plan["problems"] else {**configuration, "plan": plan["plan"]}
    try:
        client.post(client.project_path("apply"), body, reason)
    except ServerRefused as refused:
        raise ServerRefused(
            refused.message.replace(PART, ""),
            refused.status,
            *(
                FieldProblem(_pointer(each.pointer, environment), each.detail)
                for each in refused.fields
            ),
        ) from None
    written = client.get(FLAG.path(client, key)).body
    serves = client.get(TARGETING.path(client, key)).body
    if output == JSON:
        return print_json({**written, "targeting": serves} if "targeting" in file else written)
    done = "created" if definition is None else "replaced" if plan["documents"] else "unchanged"
    return print_text(f"Flag {key} {done}{FLAG.location_phrase(client)}.")


def _targeting(client: ApiClient, key: str, targeting: object, definition: Document | None) -> Json:
    """Return the targeting in the file, without what only the server sets."""
    if not isinstance(targeting, dict):
        problem = FieldProblem(
            "/targeting", "This must be what the flag serves in one environment."
        )
        raise Unreadable("The flag in the file cannot be written:", problem)
    present = None
    if definition is not None:
        present = client.get(TARGETING.path(client, key))
    check_read_only("flag", targeting, present, _not_the_key(targeting, key), at="/targeting")
    place = TARGETING.location_phrase(client)
    check_revision(f"What flag {key} serves{place}", targeting, present)
    return writable_fields(targeting, *TARGETING.read_only)


def _not_the_key(targeting: Json, key: str) -> tuple[str, ...]:
    """Return what only the server sets; the key of the flag may be there in a new flag, too."""
    own = targeting.get("flag") == key
    return tuple(each for each in TARGETING.read_only if each != "flag" or not own)


def _pointer(pointer: str, environment: str) -> str:
    """Return the pointer in the file of one in the configuration."""
    inner = pointer.removeprefix(PART)
    return inner.replace(f"/targeting/{environment}", "/targeting", 1)
