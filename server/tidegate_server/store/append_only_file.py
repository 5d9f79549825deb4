"""The end of an append-only file after the loss of power, where it is neither whole nor short.

A disk may keep the length of what was written last and not its content: the file then ends
in zeros or in what was there before. The server takes a file that is too short, but none
whose end makes no sense. What was acknowledged had reached the disk, so such an end holds
nothing that anybody was promised.
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
class Cut:
    """What was taken off a file's end, and where it is kept."""

    file: Path
    at: int
    length: int
    kept: Path


def cut_senseless_end(data_dir: Path) -> Cut | None:
    """Take off what is no command at the end of the newest file of a data folder.

    Returns:
        What was cut; None when the file is whole, or when commands follow what makes no
        sense: then it was damaged otherwise, and nothing is guessed.
    """
    files = sorted(data_dir.glob("appendonlydir/*.incr.aof"), key=_number)
    if not files or files[-1].stat().st_size == 0:
        return None
    file = files[-1]
    with (
        file.open("r+b") as opened,
        mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        whole, read = _whole_until(content)
        if read == len(content) or _COMMAND.search(content, read + 1):
            return None
        end = content[whole:]
    kept = file.with_name(f"{file.name}.cut-at-{whole}")
    kept.write_bytes(end)
    os.truncate(file, whole)
    return Cut(file, whole, len(end), kept)


def _number(file: Path) -> int:
    return int(file.name.split(".")[-3])


def _whole_until(content: mmap.mmap) -> tuple[int, int]:
    """Return how far the file holds whole transactions, and how far it holds commands."""
    whole = position = 0
    within = False
    while position < len(content):
        annotation = _ANNOTATION.match(content, position)
        if annotation is not None:
            position = annotation.end()
            continue
        found = _command(content, position)
        if found is None:
            break
        name, position = found
        within = name == b"MULTI" or (within and name != b"EXEC")
        if not within:
            whole = position
    return whole, position


def _command(content: mmap.mmap, position: int) -> tuple[bytes, int] | None:
    """Return the name of the command that begins here and where it ends; None: it is none."""
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
