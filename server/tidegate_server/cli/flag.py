"""`tidegate flag`: define flags, and set what they serve in an environment."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click

from tidegate_server.cli.api_client import ApiClient, Json
from tidegate_server.cli.document_fields import without_none, writable_fields
from tidegate_server.cli.formatting import (
    condition,
    count,
    instant,
    json_text,
    last_change,
    serving,
)
from tidegate_server.cli.options import (
    description_option,
    environment_options,
    name_option,
    output_option,
    project_options,
    read_document,
    read_object,
)
from tidegate_server.cli.output import JSON, Columns, print_facts, print_json, print_list
from tidegate_server.cli.resource_commands import (
    Facts,
    Resource,
    create,
    delete_command,
    edit,
    no_items,
)

TYPES = ("boolean", "string", "number", "object")

FLAG = Resource(name="flag", plural="flags")

TARGETING = Resource(
    name="flag",
    plural="flags",
    path_prefix=ApiClient.environment_path,
    options=environment_options,
    read_only=("flag", "killed", "release", "receipt"),
)
"""What a flag serves in one environment."""

CLIENT_SIDE = click.option(
    "--client-side/--server-side", default=None,
    help="Whether client tokens, as used in browsers and apps, can evaluate the flag.",
)  # fmt: skip


@click.group()
def flag() -> None:
    """Manage flags and what they serve."""


flag.add_command(
    delete_command(
        FLAG,
        """Delete a flag from every environment.

        The server refuses if something still needs the flag.
        """,
        place=" in every environment of project {0.project}",
    )
)


@flag.command("list")
@output_option
@environment_options
def list_flags(client: ApiClient, output: str) -> None:
    """List flags and what they serve."""
    flags = client.list(FLAG.path(client)).items
    targetings = {each["flag"]: each for each in client.list(TARGETING.path(client)).items}
    columns: Columns = {
        "flag": "key",
        "type": "type",
        f"serves in {client.target.environment}": lambda each: _serves(each["targeting"]),
        "release": lambda each: (each["targeting"] or {}).get("release") or "",
        "name": "name",
    }
    print_list(
        [{**each, "targeting": targetings.get(each["key"])} for each in flags],
        columns,
        output,
        empty=no_items(FLAG, client, "Create one with `tidegate flag create KEY`."),
    )


def _serves(targeting: Json | None) -> str:
    if targeting is None:
        return "-"
    if targeting["killed"]:
        return f"{targeting['kill_variant'] or targeting['off_variant']} (killed)"
    if not targeting["enabled"]:
        return f"{targeting['off_variant']} (disabled)"
    rules = len(targeting["rules"])
    return serving(targeting["default"]) + (f", after {count(rules, 'rule')}" if rules else "")


@flag.command("show")
@click.argument("key")
@output_option
@environment_options
def show_flag(client: ApiClient, key: str, output: str) -> None:
    """Show a flag and what it serves."""
    definition = client.get(FLAG.path(client, key)).body
    targeting = client.get(TARGETING.path(client, key)).body
    if output == JSON:
        return print_json({**definition, "targeting": targeting})
    variants = [f"{each['key']} = {json_text(each['value'])}" for each in definition["variants"]]
    print_facts(
        (
            ("flag", key),
            ("name", definition["name"]),
            ("description", definition["description"]),
            ("tags", ", ".join(definition["tags"])),
            ("type", definition["type"]),
            ("client side", definition["client_side"]),
            ("variants", ", ".join(variants)),
            ("environment", client.target.environment),
            *_targeting_facts(targeting),
        )
    )
    return None


def _targeting_facts(targeting: Json) -> Facts:
    if kill := targeting["killed"]:
        yield "killed", f"by {kill['actor']} at {instant(kill['at'])}: {kill['reason'] or '-'}"
    if receipt := targeting["receipt"]:
        yield "applied by", f"{receipt['applied']} of {receipt['live']} live instances"
    yield "enabled", targeting["enabled"]
    for each in targeting["prerequisites"]:
        yield "prerequisite", f"{each['flag']} serves {' or '.join(each['variants'])}"
    for rule in targeting["rules"]:
        yield f"rule {rule['id']}", f"{condition(rule['when'])}: {serving(rule['serve'])}"
    yield "default rule", serving(targeting["default"])
    yield "off variant", targeting["off_variant"]
    yield "kill variant", targeting["kill_variant"] or targeting["off_variant"]
    yield "release", targeting["release"]
    yield "last change", last_change(targeting)


@flag.command("create")
@click.argument("key")
@click.option(
    "--type", "type_", type=click.Choice(TYPES),
    help="Type of its values.  [default: boolean, or the type in --file]",
)  # fmt: skip
@click.option(
    "--variant", "variants", metavar="NAME=VALUE", multiple=True,
    help="A variant and its value as JSON, or as text for a string flag. Repeatable.",
)  # fmt: skip
@name_option
@description_option
@click.option("--tag", "tags", multiple=True, help="A tag. Repeatable.")
@CLIENT_SIDE
@click.option(
    "--file", type=read_object, metavar="FILE",
    help="Read the flag from a YAML or JSON file; - is standard input.",
)  # fmt: skip
@output_option
@project_options
def create_flag(
    client: ApiClient,
    key: str,
    type_: str | None,
    variants: Sequence[str],
    name: str | None,
    description: str | None,
    tags: Sequence[str],
    client_side: bool | None,
    file: Json | None,
    output: str,
) -> None:
    """Create a flag in every environment.

    The flag serves its off variant until you change that. A boolean flag has the variants `on`
    and `off` unless you name others.
    """
    body: Json = {"type": "boolean", **writable_fields(file or {}), "key": key}
    if type_:
        body["type"] = type_
    if variants:
        body["variants"] = [_parse_variant(each, body["type"]) for each in variants]
    body |= _descriptive_fields(name, description, tags, client_side)

    def message(created: Json) -> str:
        names = ", ".join(each["key"] for each in created["variants"])
        return f"Flag {key} ({created['type']}: {names}) created{FLAG.where(client)}."

    create(FLAG, client, body, output, message)


@flag.command("edit")
@click.argument("key")
@click.option(
    "--variant", "variants", metavar="NAME=VALUE", multiple=True,
    help="Add a variant, or change its value. Repeatable.",
)  # fmt: skip
@click.option(
    "--remove-variant", "removed", metavar="NAME", multiple=True,
    help="Remove a variant that is not in use. Repeatable.",
)  # fmt: skip
@name_option
@description_option
@click.option("--tag", "tags", multiple=True, help="Replace the tags. Repeatable.")
@CLIENT_SIDE
@output_option
@project_options
def edit_flag(
    client: ApiClient,
    key: str,
    variants: Sequence[str],
    removed: Sequence[str],
    name: str | None,
    description: str | None,
    tags: Sequence[str],
    client_side: bool | None,
    output: str,
) -> None:
    """Edit a flag in every environment at once."""
    fields = _descriptive_fields(name, description, tags, client_side)

    def change(flag: Json) -> Json:
        changed = [_parse_variant(each, flag["type"]) for each in variants]
        by_key = {each["key"]: each for each in (*flag["variants"], *changed)}
        for each in removed:
            if each not in by_key:
                raise click.UsageError(f"Flag {key} has no variant {each!r} to remove.")
            del by_key[each]
        return {**flag, "variants": list(by_key.values()), **fields}

    edit(FLAG, client, key, change if variants or removed else fields, output)


@flag.command("set")
@click.argument("key")
@click.option(
    "--default", metavar="VARIANT",
    help="Serve this when no rule matches: a variant (on) or a split (on=25,off=75).",
)  # fmt: skip
@click.option(
    "--rules", type=read_document, metavar="FILE",
    help="Replace the rules with the list in a YAML or JSON file; - is standard input.",
)  # fmt: skip
@click.option("--off-variant", metavar="VARIANT", help="Serve this while the flag is disabled.")
@click.option(
    "--kill-variant", metavar="VARIANT",
    help="Serve this while the flag is killed; empty: the off variant.",
)  # fmt: skip
@click.option(
    "--prerequisite", "prerequisites", metavar="FLAG=VARIANT", multiple=True,
    help="Replace the prerequisites: FLAG must serve VARIANT, or one of A,B. Repeatable.",
)  # fmt: skip
@click.option("--no-prerequisites", is_flag=True, help="Remove all prerequisites.")
@output_option
@environment_options
def set_flag(
    client: ApiClient,
    key: str,
    default: str | None,
    rules: Any,
    off_variant: str | None,
    kill_variant: str | None,
    prerequisites: Sequence[str],
    no_prerequisites: bool,
    output: str,
) -> None:
    """Change what a flag serves in an environment.

    This does not end a kill or a release of the flag.
    """
    changes = without_none(rules=rules, off_variant=off_variant)
    if default is not None:
        changes["default"] = _parse_serve(default)
    if kill_variant is not None:
        changes["kill_variant"] = kill_variant or None
    if prerequisites or no_prerequisites:
        changes["prerequisites"] = [_parse_prerequisite(each) for each in prerequisites]
    _edit_targeting(client, key, changes, output)


@flag.command("enable")
@click.argument("key")
@output_option
@environment_options
def enable_flag(client: ApiClient, key: str, output: str) -> None:
    """Enable a flag in an environment: it follows its rules."""
    _edit_targeting(client, key, {"enabled": True}, output)


@flag.command("disable")
@click.argument("key")
@output_option
@environment_options
def disable_flag(client: ApiClient, key: str, output: str) -> None:
    """Disable a flag in an environment: it serves its off variant.

    In an emergency use `tidegate kill`: it also stops a release of the flag, and waits until
    every live instance has applied it.
    """
    _edit_targeting(client, key, {"enabled": False}, output)


def _edit_targeting(client: ApiClient, key: str, changes: Json, output: str) -> None:
    edit(TARGETING, client, key, changes, output, place=f" in {client.target.environment}")


def _descriptive_fields(
    name: str | None, description: str | None, tags: Sequence[str], client_side: bool | None
) -> Json:
    return without_none(
        name=name, description=description, tags=list(tags) or None, client_side=client_side
    )


def _parse_variant(text: str, type_: str) -> Json:
    name, equals, value = text.partition("=")
    if not equals:
        raise click.UsageError(f"{text!r} is not a variant. Write NAME=VALUE.")
    if type_ == "string":
        return {"key": name, "value": value}
    try:
        return {"key": name, "value": json.loads(value)}
    except ValueError:
        raise click.UsageError(
            f"The value of variant {name} is not JSON: {value!r}. The flag's type is {type_}."
        ) from None


def _parse_serve(text: str) -> Json:
    """Return what ``--default`` serves: a variant, or a split like ``on=25,off=75``."""
    if "=" not in text:
        return {"variant": text}
    parts = [part.partition("=") for part in text.split(",")]
    try:
        split = [{"variant": name, "weight": float(weight)} for name, _, weight in parts]
    except ValueError:
        raise click.UsageError(
            f"{text!r} is not a split. Write variants with percentages: on=25,off=75."
        ) from None
    return {"split": split}


def _parse_prerequisite(text: str) -> Json:
    key, equals, variants = text.partition("=")
    if not equals:
        raise click.UsageError(f"{text!r} is not a prerequisite. Write FLAG=VARIANT.")
    return {"flag": key, "variants": variants.split(",")}
