"""The commands that all resources share: list, show, create, edit and delete.

A module describes its ``Resource`` and builds its commands with the functions here. It only says
what differs: columns, facts, options, and how the options become fields of the document.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import click

from tidegate_server.cli.api_client import ApiClient, Json
from tidegate_server.cli.history import show_version
from tidegate_server.cli.options import (
    Decorator,
    confirm,
    decorated_with,
    output_option,
    project_options,
    reason_option,
    version_option,
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
    print_warnings,
)
from tidegate_server.cli.preview import preview_option, show_preview

Facts: TypeAlias = Iterable[tuple[str, object]]

Change: TypeAlias = Json | Callable[[Json], Json]
"""New values of fields, or a function from the writable fields of a document to the new ones."""

SERVER_FIELDS = ("revision", "updated_at", "warnings", "after_last_advance")
"""Fields that the server adds to documents."""

SHARED_OPTIONS = frozenset(
    {
        *("--output", "--url", "--context", "--project", "--environment"),
        *("--reason", "--propose", "--at", "--timezone", "--preview"),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """A kind of document in the API.

    Attributes:
        name: what messages call it: ``segment``.
        plural: the plural, also in its path: ``segments``.
        path_prefix: the method of ``ApiClient`` that makes its paths.
        options: the decorator for commands about it.
        key: what identifies one: ``KEY`` or ``ID``.
        read_only: fields that only the server sets, besides ``SERVER_FIELDS``.
        place: where messages say that it is; empty for a resource of the server.
        preview_path: returns the path that says what an edit of a document would do; None: there is
            none.
    """

    name: str
    plural: str
    path_prefix: Callable[..., str] = ApiClient.project_path
    options: Decorator = project_options
    key: str = "KEY"
    read_only: tuple[str, ...] = ()
    place: str = " in project {0.project}"
    preview_path: Callable[[ApiClient, str], str] | None = None

    @property
    def title(self) -> str:
        """The name as the first word of a sentence."""
        return self.name.capitalize()

    def path(self, client: ApiClient, *parts: str) -> str:
        """Return the path of the list, or with a key of one document."""
        return self.path_prefix(client, self.plural, *parts)

    def location_phrase(self, client: ApiClient) -> str:
        """Return where it is, for the end of a sentence: `` in project shop``."""
        return self.place.format(client.target)


def list_command(resource: Resource, help: str, columns: Columns, hint: str = "") -> click.Command:
    """Return a command that prints all documents; ``hint`` ends the message that there is none."""

    @click.command("list", help=help)
    @output_option
    @resource.options
    def command(client: ApiClient, output: str) -> None:
        items = client.list(resource.path(client)).items
        print_list(items, columns, output, empty=no_items(resource, client, hint))

    return command


def no_items(resource: Resource, client: ApiClient, hint: str = "") -> str:
    """Return the message for an empty list."""
    sentence = f"No {resource.plural}{resource.location_phrase(client)}."
    return f"{sentence} {hint}" if hint else sentence


def show_command(
    resource: Resource, help: str, facts: Callable[[ApiClient, Json], Facts]
) -> click.Command:
    """Return a command that prints one document, as ``facts`` or as JSON, or a version of it."""

    @click.command("show", help=help)
    @click.argument("key", metavar=resource.key)
    @version_option
    @output_option
    @resource.options
    def command(client: ApiClient, key: str, revision: int | None, output: str) -> None:
        if revision is not None:
            return show_version(client, resource.path(client, key), revision, output)
        document = client.get(resource.path(client, key)).body
        if output == JSON:
            return print_json(document)
        return print_facts(facts(client, document))

    return command


def delete_command(
    resource: Resource,
    help: str,
    *,
    verb: str = "delete",
    label: Callable[[Json], str] | None = None,
    place: str | None = None,
    parameters: Sequence[Decorator] = (),
) -> click.Command:
    """Return a command that deletes a document after a confirmation.

    Args:
        resource: what to delete.
        help: the help text.
        verb: the name of the command.
        label: names the document in the messages; its key by default.
        place: where it is deleted, if not in the resource's own place.
        parameters: switches, each named like the parameter of the request that it makes true.
    """

    @click.command(verb, help=help)
    @click.argument("key", metavar=resource.key)
    @decorated_with(*parameters, reason_option, yes_option, resource.options)
    def command(client: ApiClient, key: str, reason: str, yes: bool, **switches: bool) -> None:
        path = resource.path(client, key)
        name = label(client.get(path).body) if label else key
        where = resource.location_phrase(client) if place is None else place.format(client.target)
        confirm(f"{verb.capitalize()} {resource.name} {name}{where}?", yes)
        client.delete(path, reason, **{name: "true" for name, on in switches.items() if on})
        print_text(f"{resource.title} {name} {verb}d.")

    return command


def create_command(
    resource: Resource,
    help: str,
    *parameters: Decorator,
    name: str = "create",
    body: Callable[[ApiClient, Json], Json] | None = None,
    message: Callable[[ApiClient, Json], str] | None = None,
    send: Callable[[ApiClient, str, Json, str], Json] = ApiClient.post,
    preview_path: Callable[[ApiClient], str] | None = None,
) -> click.Command:
    """Return a command that creates a document.

    A secret in the answer is the only line on standard output, so that a script can capture it.

    Args:
        resource: what to create.
        help: the help text.
        parameters: arguments and options, each named like the field that it sets.
        name: the name of the command.
        body: makes the body of the request from the parameters that were given.
        message: the message about a created document.
        send: sends the body to a path with a reason, and returns the created document.
        preview_path: returns the path that says what the creation would do; None: there is none.
    """
    previews = [preview_option] if preview_path else []

    @click.command(name, help=help)
    @decorated_with(*parameters, *previews, reason_option, output_option, resource.options)
    def command(
        client: ApiClient, reason: str, output: str, preview: bool = False, **parameters: Any
    ) -> None:
        fields = _given(parameters)
        content = body(client, fields) if body else fields
        if preview and preview_path is not None:
            return show_preview(client, preview_path(client), content, output)
        created = send(client, resource.path(client), content, reason)
        print_warnings(created)
        if output == JSON:
            return print_json(created)
        if message:
            text = message(client, created)
        else:
            text = f"{resource.title} {created['key']} created{resource.location_phrase(client)}."
        return print_secret(text, created) if "secret" in created else print_text(text)

    return command


def print_secret(text: str, document: Json) -> None:
    """Print a new secret to standard output, and ``text`` about it to standard error."""
    print_stderr(text)
    print_stderr("Copy this secret now, it is not shown again:")
    print_text(document["secret"])


def edit_command(
    resource: Resource,
    help: str,
    *parameters: Decorator,
    name: str = "edit",
    change: Callable[[str, Json], Change] | None = None,
) -> click.Command:
    """Return a command that changes a document.

    Args:
        resource: what to change.
        help: the help text.
        parameters: options, each named like the field that it sets.
        name: the name of the command.
        change: makes the change from the key and the parameters that were given.
    """

    previews = [preview_option] if resource.preview_path else []

    @click.command(name, help=help)
    @click.argument("key", metavar=resource.key)
    @decorated_with(*parameters, *previews, reason_option, output_option, resource.options)
    def command(
        client: ApiClient,
        key: str,
        reason: str,
        output: str,
        preview: bool = False,
        **parameters: Any,
    ) -> None:
        fields = _given(parameters)
        made = change(key, fields) if change else fields
        edit(resource, client, key, made, reason, output, preview=preview)

    return command


def edit(
    resource: Resource,
    client: ApiClient,
    key: str,
    change: Change,
    reason: str,
    output: str,
    details: Callable[[Json], str] | None = None,
    preview: bool = False,
) -> None:
    """Change a document for a reason, and print whether it changed, or the document as JSON.

    ``details`` returns what else to say about the document. A ``preview`` changes nothing, and
    prints what the change would do.

    Raises:
        click.UsageError: ``change`` is empty.
    """
    if not change:
        raise click.UsageError(f"Nothing to change. Use one of {', '.join(_own_options())}.")

    def changed(document: Json) -> Json:
        fields = writable_fields(document, *resource.read_only)
        return change(fields) if callable(change) else {**fields, **change}

    if preview and resource.preview_path is not None:
        document = client.get(resource.path(client, key)).body
        return show_preview(client, resource.preview_path(client, key), changed(document), output)
    before, after = client.edit(resource.path(client, key), changed, reason)
    print_warnings(after)
    if output == JSON:
        return print_json(after)
    same = before["revision"] == after["revision"]
    what = "unchanged" if same else "updated"
    text = f"{resource.title} {key} {what}{resource.location_phrase(client)}"
    revision = "" if same else f", revision {after['revision']}"
    return print_text(f"{text}{revision}{f': {details(after)}' if details else ''}.")


def writable_fields(document: Json, *read_only: str) -> Json:
    """Return a document without ``SERVER_FIELDS`` and the ``read_only`` fields.

    Fields that this version of the command does not know are kept.
    """
    left_out = {*SERVER_FIELDS, *read_only}
    return {name: value for name, value in document.items() if name not in left_out}


def _given(parameters: Json) -> Json:
    """Return the parameters that the user has given."""
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in parameters.items()
        if value not in (None, ())
    }


def _own_options() -> list[str]:
    """Return the options of the running command that not every command has."""
    parameters: list[Any] = click.get_current_context().command.params
    options = [parameter for parameter in parameters if isinstance(parameter, click.Option)]
    return [
        name
        for option in options
        for name in (*option.opts, *option.secondary_opts)
        if name.startswith("--") and not SHARED_OPTIONS & set(option.opts)
    ]
