"""`tidegate code-refs remove`: the patch that removes a finished flag from Python code."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tidegate_server.cli.code_refs import code_refs, path_argument, read_settings, settings_option
from tidegate_server.cli.options import (
    Decorator,
    decorated_with,
    optional_environment_options,
)
from tidegate_server.cli.output import print_stderr
from tidegate_server.errors import NotPossible
from tidegate_server.near_misses import question, similar

if TYPE_CHECKING:
    from tidegate_server.cli.api_client import ApiClient, Json
    from tidegate_server.code_refs.flag_removal import Removal, Variant

_parameters: Decorator = decorated_with(
    click.argument("key"),
    path_argument,
    click.option(
        "--serve", metavar="VARIANT",
        help="The variant that stays.  [what the environment serves to everyone]",
    ),
    click.option(
        "--value", metavar="JSON",
        help="The value that stays; asks no server: true, '\"dark\"', 10.",
    ),
    settings_option,
)  # fmt: skip


@code_refs.command("remove")
@_parameters
@optional_environment_options
def remove_command(
    connect: Callable[[], ApiClient],
    key: str,
    path: Path,
    serve: str | None,
    value: str | None,
    settings_file: str | None,
) -> None:
    """Print the patch that removes the flag KEY from the Python files of PATH.

    Each evaluation becomes the value of one variant, and the code around it simpler. What is not
    understood stays and is listed. Nothing is written: apply the patch in PATH with `git apply`.
    """
    from tidegate_server.code_refs.flag_removal import FlagRemoval
    from tidegate_server.code_refs.patches import unified_patch
    from tidegate_server.code_refs.source_files import SourceTree

    if serve is not None and value is not None:
        raise click.UsageError("Give either --serve or --value.")
    variant = (
        _variant_of_value(value) if value is not None else chosen_variant(connect(), key, serve)
    )
    settings = read_settings(path, settings_file)
    removal = FlagRemoval(SourceTree(path), key, variant, settings).run()
    click.echo(unified_patch(removal.changes), nl=False)
    _print_rest(removal, key)


def chosen_variant(client: ApiClient, key: str, name: str | None) -> Variant:
    """Return a variant of a flag; by default the one that its environment serves to everyone.

    Raises:
        ServerRefused: there is no such flag.
        NotPossible: there is no such variant, or the flag may still serve several.
    """
    from tidegate_server.code_refs.flag_removal import Variant

    flag = client.get(client.project_path("flags", key)).body
    variants = {each["key"]: each for each in flag["variants"]}
    if name is None:
        if flag.get("archived"):  # earlier servers archive nothing
            raise NotPossible(
                f"Flag {key} is archived, so it serves nothing. Name the variant that stays with "
                "--serve."
            )
        targeting = client.get(client.environment_path("flags", key)).body
        name = served_to_everyone(targeting, key, client.target.environment)
    if name not in variants:
        raise NotPossible(
            f"Flag {key} has no variant {name!r}.{question(similar(name, variants))} It has "
            f"{', '.join(variants)}."
        )
    found = variants[name]
    has_value = found.get("value") is not None
    return Variant(name, found.get("value"), has_value)


def served_to_everyone(targeting: Json, key: str, environment: str) -> str:
    """Return the only variant that a flag can serve in an environment.

    Raises:
        NotPossible: it is killed, has an active release, or may serve several.
    """
    hint = "To remove it anyway, name the variant that stays with --serve."
    where = f"Flag {key} in {environment}"
    if targeting["killed"] is not None:
        raise NotPossible(f"{where} is killed, so what it serves may change. {hint}")
    if targeting["release"] is not None:
        raise NotPossible(f"{where} has the active release {targeting['release']}. {hint}")
    if not targeting["enabled"]:
        return str(targeting["off_variant"])
    served = set(_served(targeting["default"]))
    for rule in targeting["rules"]:
        served |= set(_served(rule["serve"]))
    if targeting["prerequisites"]:
        served.add(targeting["off_variant"])
    if len(served) > 1:
        raise NotPossible(f"{where} serves several variants: {', '.join(sorted(served))}. {hint}")
    return str(served.pop())


def _served(serve: Json) -> list[str]:
    if "variant" in serve:
        return [serve["variant"]]
    return [each["variant"] for each in serve["split"] if each["weight"] > 0]


def _variant_of_value(text: str) -> Variant:
    from tidegate_server.code_refs.flag_removal import Variant

    try:
        value: Any = json.loads(text)
    except ValueError:
        raise click.UsageError(
            f"--value {text!r} is not JSON. Write true, 10, or a text in quotes: '\"dark\"'."
        ) from None
    if value is None:
        raise click.UsageError("--value null is no value of a variant.")
    return Variant("", value)


def _print_rest(removal: Removal, key: str) -> None:
    if not removal.changes:
        print_stderr(f"Nothing to change: no Python code certainly asks for {key}.")
    if removal.left:
        print_stderr("Left for you:")
    for place in removal.left:
        print_stderr(f"  {place.path}:{place.line}: {place.message}")
    if removal.notes:
        print_stderr("Please check:")
    for place in removal.notes:
        print_stderr(f"  {place.path}:{place.line}: {place.message}")
