"""`tidegate flag`: define flags, and set what they serve in an environment."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import partial

import click

from tidegate_server.cli.api_client import ApiClient, Json
from tidegate_server.cli.flag_promotion import copy, promote
from tidegate_server.cli.formatting import (
    condition,
    instant,
    json_text,
    last_change,
    serving,
)
from tidegate_server.cli.history import add_history_commands, show_version
from tidegate_server.cli.ladder_view import ladder_facts
from tidegate_server.cli.options import (
    decorated_with,
    description_option,
    environment_options,
    name_option,
    output_option,
    project_options,
    read_document,
    read_object,
    reason_option,
    version_option,
)
from tidegate_server.cli.output import (
    JSON,
    Columns,
    print_facts,
    print_json,
    print_list,
    print_text,
    print_warnings,
)
from tidegate_server.cli.put_commands import FILE
from tidegate_server.cli.resource_commands import (
    Change,
    Facts,
    Resource,
    create_command,
    delete_command,
    edit_command,
    no_items,
    writable_fields,
)

TYPES = ("boolean", "string", "number", "object")

FLAG = Resource(name="flag", plural="flags", read_only=("archived", "evaluated", "stale"))

TARGETING = Resource(
    name="flag",
    plural="flags",
    path_prefix=ApiClient.environment_path,
    options=environment_options,
    read_only=("flag", "killed", "release", "receipt", "ladder", "evaluated", "stale"),
    place=" in {0.environment}",
    preview_path=lambda client, key: client.environment_path("flags", key, "preview"),
)
"""What a flag serves in one environment."""

CLIENT_SIDE = click.option(
    "--client-side/--server-side", default=None,
    help="Whether client tokens, as used in browsers and apps, can evaluate the flag.",
)  # fmt: skip


LIFETIME = decorated_with(
    click.option("--owner", help="The person or team that answers for the flag."),
    click.option(
        "--temporary/--permanent", default=None,
        help="Whether the flag is to be removed from the code one day.",
    ),
    click.option(
        "--expected-end", metavar="DATE",
        help="The day (2026-05-01) by which a temporary flag is to be removed; empty: no day.",
    ),
)  # fmt: skip


@click.group()
def flag() -> None:
    """Manage flags and what they serve."""


flag.add_command(
    delete_command(
        FLAG,
        """Delete an archived flag from every environment.

        The server refuses if something still needs the flag, or an application has asked for it
        within the last days (7, unless the project says otherwise).
        """,
        place=" in every environment of project {0.project}",
        parameters=[
            click.option(
                "--force", is_flag=True,
                help="Delete the flag even if it is not archived or still asked for: applications "
                "that use it get the default in their code at once.",
            )
        ],
    )
)  # fmt: skip


@flag.command("put")
@FILE
@reason_option
@output_option
@environment_options
def put_flag(client: ApiClient, file: Json, reason: str, output: str) -> None:
    """Create or replace a flag from a file, and what it serves in the environment.

    FILE is YAML or JSON, such as `flag show --output json` prints; - is standard input. Without
    `targeting`, what the flag serves stays. All of it is one change; the server refuses it if the
    flag has changed since.
    """
    from tidegate_server.cli.flag_file import put_flag_file

    put_flag_file(client, file, reason, output)


@flag.command("archive")
@click.argument("key")
@reason_option
@output_option
@project_options
def archive_flag(client: ApiClient, key: str, reason: str, output: str) -> None:
    """Take a flag out of every environment, but keep it.

    Applications that still use it get the default in their code, and log a warning. Lists leave it
    out. `tidegate flag unarchive` serves it again as before.
    """
    archived = client.post(FLAG.path(client, key, "archive"), {"reason": reason})
    if output == JSON:
        return print_json(archived)
    print_warnings(archived)
    return print_text(f"Flag {key} archived{FLAG.location_phrase(client)}.")


@flag.command("unarchive")
@click.argument("key")
@reason_option
@output_option
@project_options
def unarchive_flag(client: ApiClient, key: str, reason: str, output: str) -> None:
    """Serve an archived flag again, as it was before."""
    unarchived = client.post(FLAG.path(client, key, "unarchive"), {"reason": reason})
    if output == JSON:
        return print_json(unarchived)
    return print_text(f"Flag {key} unarchived{FLAG.location_phrase(client)}.")


STATES = ("enabled", "disabled", "killed", "releasing")
SORTS = ("key", "name", "owner", "updated", "expected_end")


@flag.command("list")
@click.option(
    "--search",
    "q",
    metavar="WORDS",
    help="Only flags with these words in their key, name, description, owner or tags.",
)
@click.option("--owner", help="Only the flags of this owner.")
@click.option("--tag", help="Only the flags with this tag.")
@click.option("--state", type=click.Choice(STATES), help="Only the flags in this state.")
@click.option(
    "--sort",
    type=click.Choice([sign + by for by in SORTS for sign in ("", "-")]),
    help="The order; -updated puts the latest change first.",
)
@click.option("--archived", is_flag=True, help="The archived flags, instead of the others.")
@click.option("--stale", is_flag=True, help="Only flags that are stale in the environment.")
@output_option
@environment_options
def list_flags(
    client: ApiClient,
    output: str,
    archived: bool,
    stale: bool,
    sort: str | None,
    **chosen: str | None,
) -> None:
    """List flags and what they serve."""
    wanted = {name: value for name, value in chosen.items() if value is not None}
    query = {**wanted, **({"sort": sort} if sort else {}), "expand": "flag"}
    if archived:
        query["archived"] = "true"
    if stale:
        query["stale"] = "true"
    flags = [
        {**each.pop("definition"), "targeting": each}
        for each in client.list(TARGETING.path(client), None, **query).items
    ]
    columns: Columns = {
        "flag": "key",
        "type": "type",
        f"serves in {client.target.environment}": lambda each: (
            "nothing (archived)" if each.get("archived") else _serves(each["targeting"])
        ),
        "release": lambda each: each["targeting"]["release"] or "",
        "owner": lambda each: each.get("owner", ""),
        "name": "name",
    }
    hint = "Create one with `tidegate flag create KEY`."
    if archived:
        hint = "None is archived."
    if stale:
        hint = "None is stale."
    if wanted:
        names = ["search" if name == "q" else name for name in wanted]
        hint = f"None has the {' and the '.join(names)} that you ask for."
    print_list(flags, columns, output, empty=no_items(FLAG, client, hint))


flag.add_command(promote)
flag.add_command(copy)


@flag.command("stale")
@output_option
@project_options
def stale_flags(client: ApiClient, output: str) -> None:
    """List stale flags, why they are stale, and what to do about it.

    A flag is stale if nobody asks for it, if it is past its expected end, if it has served one
    variant to everyone for long and is temporary, or if it cannot do its work.
    """
    columns: Columns = {
        "flag": "key",
        "since": lambda each: instant(each["stale"]["since"]),
        "why": lambda each: each["stale"]["text"],
        "what to do": lambda each: each["stale"]["fix"],
        "owner": lambda each: each.get("owner", ""),
    }
    found = client.list(FLAG.path(client), None, stale="true").items
    print_list(found, columns, output, empty=f"No flag is stale{FLAG.location_phrase(client)}.")


@flag.command("evaluations")
@click.argument("key")
@click.option(
    "--step",
    type=click.Choice(("minute", "hour", "day")),
    default="minute",
    show_default=True,
    help="The length of time of a row.",
)
@click.option("--from", "from_", metavar="TIME", help="The first moment, such as 2026-05-01.")
@click.option("--to", metavar="TIME", help="The last moment.  [default: now]")
@output_option
@environment_options
def flag_evaluations(
    client: ApiClient, key: str, step: str, from_: str | None, to: str | None, output: str
) -> None:
    """Show how often applications asked for a flag, and what they got.

    Minutes are kept for 3 hours, hours for 8 days, days for 100 days. A busy application counts a
    part of the time, and its numbers are estimates (~).
    """
    times = {name: value for name, value in (("from", from_), ("to", to)) if value}
    path = TARGETING.path(client, key, "evaluations")
    found = client.get(path, step=step, **times).body
    if output == JSON:
        return print_json(found)
    points = [each for each in found["points"] if each["by_variant"] or each["defaults"]]
    variants = sorted({name for each in points for name in each["by_variant"]})
    columns: Columns = {
        "at": lambda each: instant(each["at"]),
        **{name: partial(_evaluations_of, name) for name in variants},
        "default in the code": lambda each: _about(each["defaults"], each["estimated"]),
    }
    print_list(points, columns, output, empty=f"Nobody asked for {key} in this time.")
    for each in found["askers"]:
        print_text(f"Asked for by {each['application']}, last at {instant(each['last_at'])}.")
    return None


def _evaluations_of(variant: str, point: Json) -> str:
    return _about(point["by_variant"].get(variant, 0), point["estimated"])


def _about(count: int, estimated: bool) -> str:
    return f"~{count:,}" if estimated and count else f"{count:,}"


@flag.command("unknown")
@output_option
@environment_options
def unknown_flags(client: ApiClient, output: str) -> None:
    """List flags that applications ask for in an environment and that do not exist."""
    columns: Columns = {
        "flag": "key",
        "last asked for": lambda each: instant(each["last_at"]),
        "by": "application",
    }
    found = client.list(client.environment_path("unknown-flags")).items
    where = client.target.environment
    print_list(found, columns, output, empty=f"No application asks for unknown flags in {where}.")


def _serves(targeting: Json) -> str:
    first = targeting["ladder"][0]
    if first["cause"] in ("rule", "default"):
        return str(first["serves"])
    return f"{first['serves']} ({first['state']})"


DEFINITION = click.option(
    "--definition", is_flag=True,
    help="The flag's definition, which all environments share, instead of what it serves in one.",
)  # fmt: skip


def _history_path(client: ApiClient, key: str, definition: bool = False) -> str:
    return FLAG.path(client, key) if definition else TARGETING.path(client, key)


add_history_commands(flag, FLAG.name, _history_path, environment_options, "KEY", DEFINITION)


@flag.command("show")
@click.argument("key")
@version_option
@DEFINITION
@output_option
@environment_options
def show_flag(
    client: ApiClient, key: str, revision: int | None, definition: bool, output: str
) -> None:
    """Show a flag and what it serves.

    With --version, shows what it served at that revision, or its definition then.
    """
    if revision is not None:
        return show_version(client, _history_path(client, key, definition), revision, output)
    flag = client.get(FLAG.path(client, key)).body
    if definition:
        return print_json(flag) if output == JSON else print_facts(_definition_facts(flag))
    targeting = client.get(TARGETING.path(client, key)).body
    if output == JSON:
        return print_json({**flag, "targeting": targeting})
    facts = (*_definition_facts(flag), ("environment", client.target.environment))
    return print_facts((*facts, *_targeting_facts(targeting, archived=bool(flag.get("archived")))))


def _definition_facts(flag: Json) -> Facts:
    variants = [f"{each['key']} = {json_text(each['value'])}" for each in flag["variants"]]
    return (
        ("flag", flag["key"]),
        ("archived", _archived(flag.get("archived"))),
        ("name", flag["name"]),
        ("description", flag["description"]),
        ("owner", flag.get("owner", "")),
        ("tags", ", ".join(flag["tags"])),
        ("lifetime", _lifetime(flag)),
        ("type", flag["type"]),
        ("client side", flag["client_side"]),
        ("metadata", ", ".join(f"{k} = {json_text(v)}" for k, v in _metadata(flag))),
        ("variants", ", ".join(variants)),
    )


def _archived(archived: Json | None) -> str:
    if archived is None:
        return ""
    why = f": {archived['reason']}" if archived["reason"] else ""
    return f"by {archived['actor']} at {archived['at']}{why}"


def _lifetime(definition: Json) -> str:
    # A server of an earlier version says nothing of it.
    if not definition.get("temporary", False):
        return "permanent"
    end = definition["expected_end"]
    return "temporary" if end is None else f"temporary, expected to end on {end}"


def _metadata(definition: Json) -> Iterable[tuple[str, object]]:
    # A server of an earlier version has none.
    metadata: Json = definition.get("metadata", {})
    return metadata.items()


def _targeting_facts(targeting: Json, archived: bool) -> Facts:
    if archived:
        yield "serves now", "nothing: applications get the default in their code"
    else:
        yield "serves now", targeting["ladder"][0]["serves"]
        yield from ladder_facts(targeting["ladder"])
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
    yield from _observed(targeting)
    yield "last change", last_change(targeting)


def _observed(targeting: Json) -> Facts:
    # A server of an earlier version says nothing of it.
    evaluated = targeting.get("evaluated")
    if evaluated is not None:
        last = evaluated["last_at"]
        rate = _about(round(evaluated["per_minute"]), evaluated["estimated"])
        asked = "never" if last is None else f"{instant(last)}, {rate} a minute"
        yield "last asked for", asked
    if stale := targeting.get("stale"):
        yield "stale", f"{stale['text']} {stale['fix']}"


def _new_flag(_: ApiClient, fields: Json) -> Json:
    _clear_empty_end(fields)
    body = {"type": "boolean", **writable_fields(fields.pop("file", {}), *FLAG.read_only), **fields}
    if "variants" in fields:
        body["variants"] = [_parse_variant(each, body["type"]) for each in fields["variants"]]
    if "metadata" in fields:
        body["metadata"] = _parse_metadata(fields["metadata"])
    return body


def _clear_empty_end(fields: Json) -> None:
    """Remove the end if ``--expected-end`` is empty, and that of a flag that becomes permanent."""
    if fields.get("expected_end") == "" or fields.get("temporary") is False:
        fields["expected_end"] = fields.get("expected_end") or None


def _created(client: ApiClient, flag: Json) -> str:
    names = ", ".join(each["key"] for each in flag["variants"])
    return f"Flag {flag['key']} ({flag['type']}: {names}) created{FLAG.location_phrase(client)}."


flag.add_command(
    create_command(
        FLAG,
        """Create a flag in every environment.

        The flag serves its off variant until you change that. A boolean flag has the variants
        `on` and `off` unless you name others.
        """,
        click.argument("key"),
        click.option(
            "--type", type=click.Choice(TYPES),
            help="Type of its values.  [default: boolean, or the type in --file]",
        ),
        click.option(
            "--variant", "variants", metavar="NAME=VALUE", multiple=True,
            help="A variant and its value as JSON, or as text for a string flag. Repeatable.",
        ),
        name_option,
        description_option,
        click.option("--tag", "tags", multiple=True, help="A tag. Repeatable."),
        LIFETIME,
        CLIENT_SIDE,
        click.option(
            "--metadata", metavar="NAME=VALUE", multiple=True,
            help="What evaluations carry in their metadata: true, false, a number or else text. "
            "Repeatable.",
        ),
        click.option(
            "--file", type=read_object, metavar="FILE",
            help="Read the flag from a YAML or JSON file; - is standard input.",
        ),
        body=_new_flag,
        message=_created,
    )
)  # fmt: skip


def _flag_change(key: str, fields: Json) -> Change:
    _clear_empty_end(fields)
    variants, removed = fields.pop("variants", ()), fields.pop("removed", ())
    metadata = _parse_metadata(fields.pop("metadata", ()))
    removed_metadata = fields.pop("removed_metadata", ())
    if not (variants or removed or metadata or removed_metadata):
        return fields

    def change(flag: Json) -> Json:
        parsed = [_parse_variant(each, flag["type"]) for each in variants]
        by_key = {each["key"]: each for each in (*flag["variants"], *parsed)}
        for each in removed:
            if each not in by_key:
                raise click.UsageError(f"Flag {key} has no variant {each!r} to remove.")
            del by_key[each]
        by_name = {**flag.get("metadata", {}), **metadata}
        for each in removed_metadata:
            if each not in by_name:
                raise click.UsageError(f"Flag {key} has no metadata {each!r} to remove.")
            del by_name[each]
        changed = {**flag, "variants": list(by_key.values()), **fields}
        return {**changed, "metadata": by_name} if metadata or removed_metadata else changed

    return change


flag.add_command(
    edit_command(
        FLAG,
        "Edit a flag in every environment at once.",
        click.option(
            "--variant", "variants", metavar="NAME=VALUE", multiple=True,
            help="Add a variant, or change its value. Repeatable.",
        ),
        click.option(
            "--remove-variant", "removed", metavar="NAME", multiple=True,
            help="Remove a variant that is not in use. Repeatable.",
        ),
        name_option,
        description_option,
        click.option("--tag", "tags", multiple=True, help="Replace the tags. Repeatable."),
        LIFETIME,
        CLIENT_SIDE,
        click.option(
            "--metadata", metavar="NAME=VALUE", multiple=True,
            help="Add an entry to the metadata, or change its value. Repeatable.",
        ),
        click.option(
            "--remove-metadata", "removed_metadata", metavar="NAME", multiple=True,
            help="Remove an entry from the metadata. Repeatable.",
        ),
        change=_flag_change,
    )
)  # fmt: skip


def _targeting_change(_: str, fields: Json) -> Json:
    if "default" in fields:
        fields["default"] = _parse_serve(fields["default"])
    if "kill_variant" in fields:
        fields["kill_variant"] = fields["kill_variant"] or None
    if fields.pop("no_prerequisites") or "prerequisites" in fields:
        prerequisites = fields.get("prerequisites", ())
        fields["prerequisites"] = [_parse_prerequisite(each) for each in prerequisites]
    return fields


flag.add_command(
    edit_command(
        TARGETING,
        """Change what a flag serves in an environment.

        This does not end a kill or a release of the flag.
        """,
        click.option(
            "--default", metavar="VARIANT",
            help="Serve this when no rule matches: a variant (on) or a split (on=25,off=75).",
        ),
        click.option(
            "--rules", type=read_document, metavar="FILE",
            help="Replace the rules with the list in a YAML or JSON file; - is standard input.",
        ),
        click.option(
            "--off-variant", metavar="VARIANT", help="Serve this while the flag is disabled."
        ),
        click.option(
            "--kill-variant", metavar="VARIANT",
            help="Serve this while the flag is killed; empty: the off variant.",
        ),
        click.option(
            "--prerequisite", "prerequisites", metavar="FLAG=VARIANT", multiple=True,
            help="Replace the prerequisites: FLAG must serve VARIANT, or one of A,B. Repeatable.",
        ),
        click.option("--no-prerequisites", is_flag=True, help="Remove all prerequisites."),
        name="set",
        change=_targeting_change,
    )
)  # fmt: skip
flag.add_command(
    edit_command(
        TARGETING,
        "Enable a flag in an environment: it follows its rules.",
        name="enable",
        change=lambda key, fields: {"enabled": True},
    )
)
flag.add_command(
    edit_command(
        TARGETING,
        """Disable a flag in an environment: it serves its off variant.

        In an emergency use `tidegate kill`: it also stops a release of the flag, and waits until
        every live instance has applied it.
        """,
        name="disable",
        change=lambda key, fields: {"enabled": False},
    )
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


def _parse_metadata(entries: Iterable[str]) -> Json:
    """Return entries like ``owner=payments`` and ``priority=2``; quotes make a text of a number."""
    metadata = {}
    for entry in entries:
        name, equals, text = entry.partition("=")
        if not equals:
            raise click.UsageError(f"{entry!r} is not metadata. Write NAME=VALUE.")
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        metadata[name] = value if isinstance(value, bool | int | float | str) else text
    return metadata


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
