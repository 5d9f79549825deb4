"""Repairs an append-only file whose end was damaged by a power loss.

A disk may keep the length of the last write and lose its content. The file then ends in zeros or
in older content. Valkey accepts a file that is too short, but not one with an unreadable end.
Acknowledged writes had reached the disk, so a damaged end contains none of them.
"""

from __future__ import annotations

import mmap
import os
import re
from dataclasses import dataclass
from pathlib import Path

_LINE = re.compile(rb"([*$])(\d{1,9})\r\n")
_COMMAND = re.compile(rb"\*\d{1,9}\r\n\$\d{1,9}\r\n")
_ANNOTATION = re.compile(rb"#[^\r\n]*\r\n")


@dataclass(frozen=True, slots=True)
class RemovedEnd:
    """The end that was cut off a file, and the path of its copy."""

    file: Path
    position: int
    length: int
    copy: Path


def cut_damaged_end(data_dir: Path) -> RemovedEnd | None:
    """Cut everything after the last complete transaction off the newest file of a data folder.

    Returns:
        What was cut; None if the file is undamaged, or if commands follow the damage. Then it
        has another cause, and the file is left alone.
    """
    files = sorted(data_dir.glob("appendonlydir/*.incr.aof"), key=_number)
    if not files or files[-1].stat().st_size == 0:
        return None
    file = files[-1]
    with (
        file.open("r+b") as opened,
        mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        complete, readable = _find_end(content)
        if readable == len(content) or _COMMAND.search(content, readable + 1):
            return None
        end = content[complete:]
    copy = file.with_name(f"{file.name}.cut-at-{complete}")
    copy.write_bytes(end)
    os.truncate(file, complete)
    return RemovedEnd(file, complete, len(end), copy)


def _number(file: Path) -> int:
    return int(file.name.split(".")[-3])


def _find_end(content: mmap.mmap) -> tuple[int, int]:
    """Return where the complete transactions end, and where the readable commands end."""
    complete = position = 0
    in_transaction = False
    while position < len(content):
        annotation = _ANNOTATION.match(content, position)
        if annotation is not None:
            position = annotation.end()
            continue
        command = _read_command(content, position)
        if command is None:
            break
        name, position = command
        in_transaction = name == b"MULTI" or (in_transaction and name != b"EXEC")
        if not in_transaction:
            complete = position
    return complete, position


def _read_command(content: mmap.mmap, position: int) -> tuple[bytes, int] | None:
    """Return the name and the end of the command at a position; None if there is none."""
    line = _LINE.match(content, position)
    if line is None or line[1] != b"*" or line[2] == b"0":
        return None
    name = b""
    position = line.end()
    for number in range(int(line[2])):
        argument = _LINE.match(content, position)
        if argument is None or argument[1] != b"$":
            return None
        end = argument.end() + int(argument[2])
        if content[end : end + 2] != b"\r\n":
            return None
        if number == 0:
            name = content[argument.end() : end].upper()
        position = end + 2
    return name, position
