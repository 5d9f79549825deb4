"""The commands that create or replace a document from a file, such as `tidegate segment put`.

What `show --output json` prints goes back in unchanged: fields that only the server sets may be in
the file if they are what the server has.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import click

from tidegate_server.cli.api_client import ApiClient, Document, Json
from tidegate_server.cli.options import (
    decorated_with,
    output_option,
    read_object,
    reason_option,
)
from tidegate_server.cli.output import JSON, print_json, print_text, print_warnings
from tidegate_server.cli.resource_commands import (
    SERVER_FIELDS,
    Resource,
    print_secret,
    writable_fields,
)
from tidegate_server.errors import FieldProblem, ServerRefused, Unreadable

COMPUTED = frozenset(
    {
        *("updated_at", "warnings", "after_last_advance", "receipt", "ladder", "evaluated"),
        *("stale", "used_by", "revision"),
    }
)
"""Fields that follow from others, or change while nobody edits the document. The revision is not
compared here: the server refuses one that is no longer the present one."""

FILE = click.argument("file", metavar="FILE", type=read_object)


def put_command(resource: Resource, help: str, key_field: str = "key") -> click.Command:
    """Return a command that creates or replaces a document from a file.

    Args:
        resource: what to write.
        help: the help text.
        key_field: the field that names the document; one that the server sets itself cannot be
            created from a file.
    """

    @click.command("put", help=help)
    @decorated_with(FILE, reason_option, output_option, resource.options)
    def command(client: ApiClient, file: Json, reason: str, output: str) -> None:
        key = document_key(resource, file, key_field)
        path = resource.path(client, key)
        existing = client.get_if_exists(path)
        if existing is None and key_field in resource.read_only:
            raise Unreadable(
                f"There is no {resource.name} {key!r}{resource.location_phrase(client)}; create "
                f"one with `tidegate {resource.name} create`."
            )
        check_read_only(resource.name, file, existing, resource.read_only)
        body = writable_fields(file, *resource.read_only)
        if existing is None:
            written = client.post(resource.path(client), body, reason)
        else:
            written = client.put(path, body, etag_of(file, existing), reason)
        print_warnings(written)
        if output == JSON:
            return print_json(written)
        text = _message(resource, client, key, existing, written)
        return print_secret(text, written) if "secret" in written else print_text(text)

    return command


def document_key(resource: Resource, file: Json, key_field: str = "key") -> str:
    """Return the key that a file has; raises ``Unreadable``."""
    key = file.get(key_field)
    if not isinstance(key, str) or not key:
        raise Unreadable(f"The {resource.name} has no `{key_field}`; add it.")
    return key


def etag_of(file: Json, existing: Document) -> str:
    """Return the ETag that an update must have: that of the revision in the file, if it has one."""
    revision = file.get("revision")
    return f'"{revision}"' if isinstance(revision, int) else existing.etag


def check_read_only(
    name: str, file: Json, existing: Document | None, read_only: Iterable[str], at: str = ""
) -> None:
    """Check that a file says of what only the server sets just what the server has.

    Args:
        name: what messages call the document.
        file: the document in the file.
        existing: the document on the server, or None.
        read_only: the fields that only the server sets.
        at: the pointer of the document in the file.

    Raises:
        Unreadable: the file says something else.
    """
    present = {} if existing is None else existing.body
    fields = [each for each in (*SERVER_FIELDS, *read_only) if each not in COMPUTED]
    different = [each for each in fields if _is_set(file, each) and file[each] != present.get(each)]
    problems = [
        FieldProblem(
            f"{at}/{each}",
            f"Only the server sets this, and it has {_shown(present.get(each))}; leave it out.",
        )
        for each in different
    ]
    if problems:
        raise Unreadable(f"The {name} in the file cannot be written:", *problems)


def check_revision(name: str, file: Json, existing: Document | None) -> None:
    """Check that a document has not changed since a file was written; raises ``ServerRefused``."""
    revision = file.get("revision")
    if existing is None or not isinstance(revision, int):
        return
    if revision != existing.body["revision"]:
        raise ServerRefused(
            f"{name} is at revision {existing.body['revision']}, and the file has {revision}: "
            "somebody changed it since. Show it again. Nothing changed.",
            412,
        )


def _is_set(file: Json, name: str) -> bool:
    # A document that does not exist yet has none of them.
    return file.get(name) not in (None, "", [], {})


def _shown(value: Any) -> str:
    return "nothing" if value is None else repr(value)


def _message(
    resource: Resource, client: ApiClient, key: str, existing: Document | None, written: Json
) -> str:
    place = resource.location_phrase(client)
    if existing is None:
        return f"{resource.title} {key} created{place}."
    if written["revision"] == existing.body["revision"]:
        return f"{resource.title} {key} unchanged{place}."
    return f"{resource.title} {key} replaced{place}, revision {written['revision']}."
