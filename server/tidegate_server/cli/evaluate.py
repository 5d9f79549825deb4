"""`tidegate evaluate`: what a flag serves to a context, now or at an earlier time, and why."""

from __future__ import annotations

import json

import click

from tidegate_server.cli.api_client import ApiClient, Json
from tidegate_server.cli.formatting import instant, json_text
from tidegate_server.cli.options import environment_options, output_option, read_object
from tidegate_server.cli.output import (
    JSON,
    Columns,
    print_json,
    print_list,
    print_stderr,
    print_text,
)

CHANGES: Columns = {
    "when": lambda each: instant(each["at"]),
    "what": lambda each: f"{each['kind']} {each['key']}",
    "revision": "revision",
    "who": lambda each: each["actor"] or "not known",
    "action": "action",
    "reason": "reason",
}


RESULTS: Columns = {
    "flag": "flag",
    "serves": lambda each: _served(each),
    "decided by": lambda each: _decided_by(each["decided_by"]),
}


@click.command()
@click.argument("flag", required=False)
@click.option("--targeting-key", metavar="KEY", help="The context's targeting key: the user's id.")
@click.option(
    "--attribute",
    "attributes",
    metavar="NAME=VALUE",
    multiple=True,
    help="An attribute of the context; JSON, or else text. Repeatable.",
)
@click.option(
    "--file",
    type=read_object,
    metavar="FILE",
    help="Read the context from a YAML or JSON file; - is standard input.",
)
@click.option(
    "--saved",
    metavar="KEY",
    help="Evaluate for a saved context; attributes that you give replace its own.",
)
@click.option(
    "--seen", metavar="NAME", help="Evaluate for a recently seen user, without a targeting key."
)
@click.option("--at", metavar="TIME", help="Evaluate the flag as it was at this time, in UTC.")
@click.option(
    "--version",
    type=click.IntRange(min=1),
    metavar="N",
    help="Evaluate the flag as version N of the environment had it.",
)
@output_option
@environment_options
def evaluate(
    client: ApiClient,
    flag: str | None,
    targeting_key: str | None,
    attributes: tuple[str, ...],
    file: Json | None,
    saved: str | None,
    seen: str | None,
    at: str | None,
    version: int | None,
    output: str,
) -> None:
    """Show what a flag serves to a context, and why, step by step; without FLAG, all flags.

    With --at or --version, everything is as it was then: the flag, its segments and prerequisites,
    a release and a kill. The command also shows what it serves now, and what has changed since.

    Nothing is counted.
    """
    context = dict(file or {}) | dict(map(_parse_attribute, attributes))
    if targeting_key is not None:
        context["targetingKey"] = targeting_key
    chosen = {"saved_context": saved, "seen_user": seen, "at": at, "version": version}
    body: Json = {"context": context}
    body |= {name: value for name, value in chosen.items() if value is not None}
    if flag is None:
        return _evaluate_all(client, body, output)
    result = client.post(client.environment_path("flags", flag, "evaluate"), body)
    if output == JSON:
        return print_json(result)
    when = f" at {instant(result['at'])}" if result["now"] is not None else ""
    print_text(f"Flag {flag} in {client.target.environment}{when}: {_served(result)}")
    for step in result["steps"]:
        print_text(f"  {'→' if step['decides'] else '·'} {step['text']}{_details(step)}")
    for caveat in result.get("caveats", ()):
        print_stderr(caveat)
    if result["now"] is None:
        return None
    print_text(f"Now: {_served(result['now'])}")
    if not result["changed_since"]:
        return print_text("Nothing that it depends on has changed since.")
    print_text("Changed since:")
    return print_list(result["changed_since"][::-1], CHANGES, output)


def _evaluate_all(client: ApiClient, body: Json, output: str) -> None:
    path, results = client.environment_path("evaluate"), []
    while True:
        page = client.post(path, body)
        results += page["items"]
        if page["next_cursor"] is None:
            break
        body = {**body, "cursor": page["next_cursor"]}
    print_list(results, RESULTS, output, empty=f"There are no flags in {client.target.project}.")
    if output != JSON:
        for caveat in page["caveats"]:
            print_stderr(caveat)


def _decided_by(step: Json | None) -> str:
    return "" if step is None else f"{step['part']} {step['name']}".strip()


def _details(step: Json) -> str:
    # A server of an earlier version says nothing of them.
    why = f" ({step['why']})" if step.get("why") else ""
    if step.get("bucket") is None:
        return why
    return f"{why} The bucket is {step['bucket']:,}; the limit is {step['opened_below']:,}."


def _served(result: Json) -> str:
    if result["error_code"] is not None:
        return f"the application's default, {result['error_code']}: {result['error_message']}"
    value = json_text(result["value"])
    return f"{result['variant']} = {value} ({result['reason']})"


def _parse_attribute(text: str) -> tuple[str, object]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise click.UsageError(f"{text!r} is not an attribute. Write NAME=VALUE.")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
