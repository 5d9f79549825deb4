"""`tidegate flag`: what flags are, and what they serve in an environment."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click

from tidegate_server.cli.api_client import Json, Server
from tidegate_server.cli.document_fields import as_sent, given
from tidegate_server.cli.options import (
    confirm,
    document_file,
    for_environment,
    for_project,
    object_file,
    output_option,
    yes_option,
)
from tidegate_server.cli.output import (
    JSON,
    note,
    print_changed,
    print_facts,
    print_json,
    print_table,
    say,
)

TYPES = ("boolean", "string", "number", "object")
SET_BY_SERVER = ("flag", "killed", "release", "receipt")
"""Fields of a targeting that an update does not have."""

CLIENT_SIDE = click.option(
    "--client-side/--server-side", default=None,
    help="Whether client tokens, which pages and apps carry, may ask for it.",
)  # fmt: skip


@click.group()
def flag() -> None:
    """Flags: what they are, and what they serve in an environment."""


@flag.command("list")
@output_option
@for_environment
def list_flags(server: Server, output: str) -> None:
    """List the project's flags, and what each one serves in the environment."""
    flags = server.list(server.project_path("flags")).items
    targetings = {
        each["flag"]: each for each in server.list(server.environment_path("flags")).items
    }
    found = [{**each, "targeting": targetings.get(each["key"])} for each in flags]
    if output == JSON:
        return print_json(found)
    if not found:
        return note(f"No flags in {server.target.project}; `tidegate flag create KEY` makes one.")
    columns = ("flag", "type", f"serves in {server.target.environment}", "release", "name")
    return print_table(
        columns,
        [(each["key"], each["type"], *_state(each["targeting"]), each["name"]) for each in found],
    )


def _state(targeting: Json | None) -> tuple[str, str]:
    from tidegate_server.cli.formatting import serving

    if targeting is None:
        return "-", ""
    if targeting["killed"]:
        serves = f"{targeting['kill_variant'] or targeting['off_variant']} (killed)"
    elif not targeting["enabled"]:
        serves = f"{targeting['off_variant']} (disabled)"
    else:
        serves = serving(targeting["default"])
        if count := len(targeting["rules"]):
            serves += f", {count} {'rule' if count == 1 else 'rules'} first"
    return serves, targeting["release"] or ""


@flag.command("show")
@click.argument("key")
@output_option
@for_environment
def show_flag(server: Server, key: str, output: str) -> None:
    """Show a flag, and what it serves in the environment."""
    definition = server.read(server.project_path("flags", key)).body
    targeting = server.read(server.environment_path("flags", key)).body
    if output == JSON:
        return print_json({**definition, "targeting": targeting})
    variants = [f"{each['key']} = {_json(each['value'])}" for each in definition["variants"]]
    print_facts(
        (
            ("flag", key),
            ("name", definition["name"]),
            ("description", definition["description"]),
            ("tags", ", ".join(definition["tags"])),
            ("type", definition["type"]),
            ("client side", definition["client_side"]),
            ("variants", ", ".join(variants)),
            ("environment", server.target.environment),
            *_targeting_facts(targeting),
        )
    )
    return None


def _targeting_facts(targeting: Json) -> list[tuple[str, object]]:
    from tidegate_server.cli.formatting import condition, instant, serving

    kill, receipt = targeting["killed"], targeting["receipt"]
    facts: list[tuple[str, object]] = []
    if kill:
        facts.append(
            ("killed", f"by {kill['actor']} at {instant(kill['at'])}: {kill['reason'] or '-'}")
        )
    if receipt:
        facts.append(("applied by", f"{receipt['applied']} of {receipt['live']} live processes"))
    facts.append(("enabled", targeting["enabled"]))
    facts += [
        ("needs", f"{each['flag']} to serve {' or '.join(each['variants'])}")
        for each in targeting["prerequisites"]
    ]
    facts += [
        (f"rule {rule['id']}", f"{condition(rule['when'])}: {serving(rule['serve'])}")
        for rule in targeting["rules"]
    ]
    facts += [
        ("everyone else", serving(targeting["default"])),
        ("when disabled", targeting["off_variant"]),
        ("when killed", targeting["kill_variant"] or targeting["off_variant"]),
        ("release", targeting["release"]),
        ("changed", f"{instant(targeting['updated_at'])}, revision {targeting['revision']}"),
    ]
    return facts


@flag.command("create")
@click.argument("key")
@click.option("--type", "type_", type=click.Choice(TYPES), help="boolean, unless FILE says more.")
@click.option(
    "--variant", "variants", metavar="NAME=VALUE", multiple=True,
    help="A variant and its value (JSON; plain text for a string flag). May be repeated.",
)  # fmt: skip
@click.option("--name", help="For people.")
@click.option("--description", help="For people.")
@click.option("--tag", "tags", multiple=True, help="May be repeated.")
@CLIENT_SIDE
@click.option("--file", type=object_file, help="A YAML or JSON document of the flag.")
@output_option
@for_project
def create_flag(
    server: Server,
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
    """Create a flag in every environment of the project. It begins by serving its off variant.

    A boolean flag has the variants `on` and `off` unless others are given.
    """
    asked: Json = {"type": "boolean", **as_sent(file or {}), "key": key}
    if type_:
        asked["type"] = type_
    if variants:
        asked["variants"] = [_variant(each, asked["type"]) for each in variants]
    asked |= _described(name, description, tags, client_side)
    made = server.post(server.project_path("flags"), asked)
    if output == JSON:
        return print_json(made)
    names = ", ".join(each["key"] for each in made["variants"])
    return say(f"Flag {key} ({made['type']}: {names}) created in project {server.target.project}.")


@flag.command("edit")
@click.argument("key")
@click.option(
    "--variant", "variants", metavar="NAME=VALUE", multiple=True,
    help="A new variant, or another value of one. May be repeated.",
)  # fmt: skip
@click.option("--remove-variant", "removed", metavar="NAME", multiple=True, help="One not in use.")
@click.option("--name", help="For people.")
@click.option("--description", help="For people.")
@click.option("--tag", "tags", multiple=True, help="In place of the present tags.")
@CLIENT_SIDE
@output_option
@for_project
def edit_flag(
    server: Server,
    key: str,
    variants: Sequence[str],
    removed: Sequence[str],
    name: str | None,
    description: str | None,
    tags: Sequence[str],
    client_side: bool | None,
    output: str,
) -> None:
    """Change what a flag is, in every environment at once."""
    described = _described(name, description, tags, client_side)
    if not (variants or removed or described):
        raise click.UsageError("Say what to change: a variant, the name, the description, tags.")

    def change(document: Json) -> Json:
        after = as_sent(document)
        said = [_variant(each, after["type"]) for each in variants]
        values = {each["key"]: each for each in (*after["variants"], *said)}
        for each in removed:
            if each not in values:
                raise click.UsageError(f"Flag {key} has no variant {each!r} to remove.")
            del values[each]
        after["variants"] = list(values.values())
        return {**after, **described}

    print_changed(f"Flag {key}", server.edit(server.project_path("flags", key), change), output)


@flag.command("set")
@click.argument("key")
@click.option(
    "--default",
    metavar="VARIANT",
    help="What everyone gets whom no rule means: on, or on=25,off=75.",
)
@click.option(
    "--rules", type=document_file, metavar="FILE",
    help="A YAML or JSON list of rules in place of the present ones; - is standard input.",
)  # fmt: skip
@click.option("--off-variant", metavar="VARIANT", help="What it serves while it is disabled.")
@click.option(
    "--kill-variant", metavar="VARIANT",
    help="What it serves while it is killed; empty: the off variant.",
)  # fmt: skip
@click.option(
    "--prerequisite", "prerequisites", metavar="FLAG=VARIANT", multiple=True,
    help="Another flag that must serve VARIANT (or one of A,B), in place of the present ones.",
)  # fmt: skip
@click.option("--no-prerequisites", is_flag=True, help="It depends on no other flag any more.")
@output_option
@for_environment
def set_flag(
    server: Server,
    key: str,
    default: str | None,
    rules: Any,
    off_variant: str | None,
    kill_variant: str | None,
    prerequisites: Sequence[str],
    no_prerequisites: bool,
    output: str,
) -> None:
    """Change what a flag serves in the environment. Its kill and its release stay."""
    changes: Json = {}
    if default is not None:
        changes["default"] = _serve(default)
    if rules is not None:
        changes["rules"] = rules
    if off_variant is not None:
        changes["off_variant"] = off_variant
    if kill_variant is not None:
        changes["kill_variant"] = kill_variant or None
    if prerequisites or no_prerequisites:
        changes["prerequisites"] = [_prerequisite(each) for each in prerequisites]
    if not changes:
        raise click.UsageError("Say what to change: --default, --rules, ...")
    _set(server, key, changes, output)


@flag.command("enable")
@click.argument("key")
@output_option
@for_environment
def enable_flag(server: Server, key: str, output: str) -> None:
    """Let a flag serve what its rules say in the environment."""
    _set(server, key, {"enabled": True}, output)


@flag.command("disable")
@click.argument("key")
@output_option
@for_environment
def disable_flag(server: Server, key: str, output: str) -> None:
    """Let a flag serve its off variant to everyone in the environment.

    `tidegate kill` does the same at once, whatever else is configured, and waits until every
    process has applied it.
    """
    _set(server, key, {"enabled": False}, output)


@flag.command("delete")
@click.argument("key")
@yes_option
@for_project
def delete_flag(server: Server, key: str, yes: bool) -> None:
    """Delete a flag that nothing needs, and what it serves in every environment."""
    confirm(f"Delete flag {key} in every environment of project {server.target.project}?", yes)
    server.delete(server.project_path("flags", key))
    say(f"Flag {key} deleted.")


def _set(server: Server, key: str, changes: Json, output: str) -> None:
    at = server.environment_path("flags", key)
    edited = server.edit(at, lambda document: {**as_sent(document, *SET_BY_SERVER), **changes})
    print_changed(f"Flag {key} in {server.target.environment}", edited, output)


def _described(
    name: str | None, description: str | None, tags: Sequence[str], client_side: bool | None
) -> Json:
    return given(
        name=name, description=description, tags=list(tags) or None, client_side=client_side
    )


def _variant(text: str, type_: str) -> Json:
    name, equals, value = text.partition("=")
    if not equals:
        raise click.UsageError(f"A variant is written NAME=VALUE, not {text!r}.")
    if type_ == "string":
        return {"key": name, "value": value}
    try:
        return {"key": name, "value": json.loads(value)}
    except ValueError:
        raise click.UsageError(
            f"The value of variant {name} is not JSON: {value!r}; a {type_} is expected."
        ) from None


def _serve(text: str) -> Json:
    """What ``--default`` says: a variant, or a split ``on=25,off=75``."""
    if "=" not in text:
        return {"variant": text}
    parts = [part.partition("=") for part in text.split(",")]
    try:
        split = [{"variant": name, "weight": float(weight)} for name, _, weight in parts]
    except ValueError:
        raise click.UsageError(
            f"A split is written on=25,off=75 with percentages, not {text!r}."
        ) from None
    return {"split": split}


def _prerequisite(text: str) -> Json:
    flag_, equals, variants = text.partition("=")
    if not equals:
        raise click.UsageError(f"A prerequisite is written FLAG=VARIANT, not {text!r}.")
    return {"flag": flag_, "variants": variants.split(",")}


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
