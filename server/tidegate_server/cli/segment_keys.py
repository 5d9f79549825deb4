"""`tidegate segment upload`, `download` and `lookup`: many keys of a segment."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import click

from tidegate_server.cli.api_client import ApiClient, Json
from tidegate_server.cli.formatting import count
from tidegate_server.cli.options import (
    file_label,
    local_reason_option,
    output_option,
    project_options,
)
from tidegate_server.cli.output import (
    JSON,
    Columns,
    print_json,
    print_json_line,
    print_list,
    print_stderr,
    print_text,
)
from tidegate_server.errors import ServerUnreachable

FORMATS = {
    "lines": "text/plain",
    "ndjson": "application/x-ndjson",
    "csv": "text/csv",
}
ENDINGS = {".csv": "csv", ".ndjson": "ndjson", ".jsonl": "ndjson"}

ATTEMPTS = 3
"""How often a file is sent while the connection breaks."""

list_option = click.option(
    "--list", "list_", type=click.Choice(("included", "excluded")), default="included",
    show_default=True, help="The list of the segment.",
)  # fmt: skip


@click.command("upload")
@click.argument("key")
@click.argument("file", metavar="FILE|-")
@list_option
@click.option("--add", "mode", flag_value="add", help="Keep the keys of the list, and add these.")
@click.option("--remove", "mode", flag_value="remove", help="Remove these keys from the list.")
@click.option(
    "--replace",
    "mode",
    flag_value="replace",
    default=True,
    help="The list has these keys and no others. This is the default.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(tuple(FORMATS)),
    help="How the keys are written; by default as the name of the file ends, else as lines.",
)
@click.option(
    "--column",
    default="",
    metavar="NAME",
    help="The column of CSV, or the field of NDJSON objects, that has the key.",
)
@click.option("--allow-empty", is_flag=True, help="Remove all keys if the file has none.")
@click.option("--dry-run", is_flag=True, help="Only say what would change.")
@local_reason_option
@output_option
@project_options
def upload_command(
    client: ApiClient,
    key: str,
    file: str,
    list_: str,
    mode: str,
    form: str | None,
    column: str,
    allow_empty: bool,
    dry_run: bool,
    reason: str,
    output: str,
) -> None:
    """Upload up to a million keys to a list of a segment.

    FILE has one key on each line, or is NDJSON or CSV; with gzip if its name ends in .gz; - is
    standard input. All keys take effect at once, or none. The server keeps their hashes only. A
    command that was cut off can be repeated: keys that are there already change nothing.
    """  # fmt: skip
    name = file.removesuffix(".gz")
    headers = {"Content-Type": FORMATS[form or ENDINGS.get(Path(name).suffix.lower(), "lines")]}
    if name != file:
        headers["Content-Encoding"] = "gzip"
    query = {"list": list_, "mode": mode, "column": column}
    query |= {"allow_empty": "true"} if allow_empty else {}
    query |= {"dry_run": "true"} if dry_run else {}
    path = client.project_path("segments", key, "keys")
    with ExitStack() as stack:
        content = _opened(stack, file)
        answer = _send(client, path, content, headers, reason, query)
    if output == JSON:
        return print_json(answer)
    return print_text(_outcome(answer))


def _opened(stack: ExitStack, file: str) -> BinaryIO:
    if file == "-":
        return sys.stdin.buffer
    try:
        return stack.enter_context(Path(file).open("rb"))
    except OSError as error:
        raise click.BadParameter(f"Cannot read {file_label(file)}: {error.strerror}.") from None


def _send(
    client: ApiClient,
    path: str,
    content: BinaryIO,
    headers: dict[str, str],
    reason: str,
    query: dict[str, str],
) -> Json:
    """Send a file, again if the connection breaks; standard input can be read only once."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return client.upload(path, content, headers, reason, **query)
        except ServerUnreachable as error:
            if not content.seekable() or attempt == ATTEMPTS or content.tell() == 0:
                raise ServerUnreachable(
                    f"{error.message} Repeat the command: keys that are there already change "
                    "nothing."
                ) from None
            print_stderr(f"{error.message} Sending the file again.")
            content.seek(0, os.SEEK_SET)
    raise AssertionError("unreachable")


def _outcome(answer: Json) -> str:
    added, removed, total = answer["added"], answer["removed"], answer["count"]
    list_ = f"the {answer['list']} list of segment {answer['segment']}"
    if answer["dry_run"]:
        return (
            f"{count(added, 'key')} would join {list_}, and {removed:,} would leave; "
            f"it would have {total:,}. Nothing was changed."
        )
    if not added and not removed:
        return f"No change: {list_} has {count(total, 'key')}."
    return (
        f"{count(added, 'key')} joined {list_}, and {removed:,} left; it has {total:,} now, "
        f"revision {answer['revision']}."
    )


@click.command("download")
@click.argument("key")
@list_option
@project_options
def download_command(client: ApiClient, key: str, list_: str) -> None:
    """Print the hashes of the uploaded keys of a segment, as NDJSON.

    The server does not keep the keys. The first line has the salt: a hash is the first 16
    hexadecimal digits of the SHA-256 of SALT:KEY.
    """
    for line in client.lines(client.project_path("segments", key, "keys"), list=list_):
        print_json_line(line)


@click.command("lookup")
@click.argument("key")
@click.argument("keys", metavar="TARGETING_KEY...", nargs=-1, required=True)
@output_option
@project_options
def lookup_command(client: ApiClient, key: str, keys: tuple[str, ...], output: str) -> None:
    """Tell in which lists of a segment targeting keys are."""
    path = client.project_path("segments", key, "keys", "lookup")
    items = client.post(path, {"keys": list(keys)})["items"]
    columns: Columns = {
        "key": "key",
        "included": lambda each: "yes" if each["included"] else "no",
        "excluded": lambda each: "yes" if each["excluded"] else "no",
    }
    print_list(items, columns, output)
