"""Reads and writes the folder with a project's configuration.

Files come from anyone who can propose a change to a repository, so that none may lead out of the
folder, be endless, or take much memory. An export writes all files beside their places before it
moves the first one to its place, so that a full disk changes nothing.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tidegate_server.documents.line_numbers import line_of, lines_of
from tidegate_server.documents.project_files import (
    FILE_NAME,
    PROJECT_FILE,
    SCHEMA_FOLDER,
    SECTIONS,
    SUFFIX,
    ObjectPlace,
    file_text,
    header_of,
    key_of,
    schema_file,
)
from tidegate_server.errors import FieldProblem, Unreadable
from tidegate_server.near_misses import question, similar
from tidegate_server.strict_text import parse_yaml

MAX_FILE = 4_000_000
MAX_ALL_FILES = 30_000_000
"""How long a file, and all files together, may be, in bytes."""

MAX_VALUES = 200_000
"""How many values a file may have; a segment lists many keys."""

UNFINISHED = ".tidegate-new"
"""The end of the name of a file that an export has not moved to its place yet."""

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class LocalObject:
    """An object as its file has it."""

    place: ObjectPlace
    text: str
    item: Json


@dataclass(frozen=True, slots=True)
class ProjectFolder:
    """The objects in a folder.

    Attributes:
        path: the folder.
        objects: by section, in the order in which ``configuration`` lists them.
    """

    path: Path
    objects: Mapping[str, list[LocalObject]] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> ProjectFolder:
        """Read a folder; one that does not exist, or is empty, has no objects.

        Raises:
            Unreadable: a file cannot be read, is malformed, or nothing would read it. Names
                every such file.
        """
        reader = _Reader(path)
        objects = reader.read()
        if reader.problems:
            raise Unreadable(f"{path} cannot be used:", *reader.problems)
        return cls(path, objects)

    @property
    def is_empty(self) -> bool:
        """Whether there is no object."""
        return not any(self.objects.values())

    def configuration(self) -> Json:
        """Return the objects as the API takes them. It lists every kind, so it may be pruned."""
        configuration: Json = {
            section: [each.item for each in self.objects.get(section, ())] for section in SECTIONS
        }
        project = self.objects.get("", ())
        return {"project": project[0].item, **configuration} if project else configuration

    def all(self) -> Iterator[LocalObject]:
        """Yield every object."""
        for objects in self.objects.values():
            yield from objects

    def file_of(self, pointer: str) -> str:
        """Return the file of a pointer in ``configuration``; empty: it is of no object."""
        local, _ = self._object_at(pointer)
        return "" if local is None else local.place.path

    def location(self, pointer: str) -> tuple[str, int | None, str]:
        """Return the file, the line and the pointer in the file of a pointer in ``configuration``.

        The file is empty if the pointer is of no object.
        """
        local, inner = self._object_at(pointer)
        if local is None:
            return "", None, pointer
        return local.place.path, line_of(lines_of(local.text), inner), inner

    def place_of(self, pointer: str) -> str:
        """Return a pointer in ``configuration`` as ``flags/a.yaml:12 /rules/0``.

        One of no object stays as it is.
        """
        file, line, inner = self.location(pointer)
        return f"{file}:{line} {inner}".strip() if line else f"{file} {inner}".strip()

    def _object_at(self, pointer: str) -> tuple[LocalObject | None, str]:
        """Return the object that a pointer leads to, and the pointer in it."""
        _, section, *rest = [*pointer.split("/"), ""]
        objects = self.objects.get("" if section == "project" else section, [])
        if section == "project":
            rest = ["0", *rest]
        number = int(rest[0]) if rest and rest[0].isdigit() else -1
        if not 0 <= number < len(objects):
            return None, pointer
        return objects[number], "".join(f"/{step}" for step in rest[1:] if step)


class _Reader:
    """Reads a folder and collects its problems."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._left = MAX_ALL_FILES
        self.problems: list[FieldProblem] = []

    def read(self) -> dict[str, list[LocalObject]]:
        """Return the objects by section."""
        found: dict[str, list[LocalObject]] = {}
        for entry in self._entries(self._path, ""):
            name = entry.name
            if entry.is_dir() and name in SECTIONS:
                names = self._entries(self._path / name, name)
                read = [self._object(each, name) for each in names]
                found[name] = [each for each in read if each is not None]
            elif entry.is_dir():
                self._misspelled(name, SECTIONS)
            elif name == PROJECT_FILE:
                read = [self._object(entry, "")]
                found[""] = [each for each in read if each is not None]
            elif name.endswith((SUFFIX, ".yml")):
                folders = ", ".join(SECTIONS)
                self._problem(name, f"Nothing reads this file: move it to one of {folders}.")
        return found

    def _entries(self, path: Path, shown: str) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(path) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except FileNotFoundError:
            return []
        except OSError as error:
            self._problem(shown or str(path), f"This cannot be read: {error.strerror}.")
            return []
        visible = [entry for entry in found if not entry.name.startswith(".")]
        for entry in visible:
            if entry.is_symlink():
                name = f"{shown}/{entry.name}" if shown else entry.name
                self._problem(name, "This is a symbolic link; put the file itself here.")
        return [entry for entry in visible if not entry.is_symlink()]

    def _misspelled(self, name: str, known: Iterable[str]) -> None:
        if meant := similar(name, list(known)):
            self._problem(f"{name}/", f"Nothing reads this folder.{question(meant)}")

    def _object(self, entry: os.DirEntry[str], section: str) -> LocalObject | None:
        shown = f"{section}/{entry.name}" if section else entry.name
        if entry.is_dir():
            self._problem(f"{shown}/", f"{section} has no folders; move its files up.")
            return None
        stem = entry.name.removesuffix(SUFFIX)
        if stem == entry.name:
            if entry.name.endswith((".yml", ".json")):
                self._problem(shown, f"Nothing reads this file; its name must end with {SUFFIX}.")
            return None
        text = self._text(Path(entry.path), shown)
        if text is None:
            return None
        try:
            item = parse_yaml(text, shown, MAX_VALUES)
        except Unreadable as error:
            self._problem(shown, error.message.removeprefix(shown).strip())
            return None
        if not isinstance(item, dict):
            self._problem(shown, "This must have fields, such as `key: new-checkout`.")
            return None
        key = key_of(section, item)
        if section and key != stem:
            message = (
                f"The file is named {stem!r} and has the {'id' if section == 'hooks' else 'key'} "
                f"{key!r}; make them the same."
            )
            self._problem(shown, message)
            return None
        return LocalObject(ObjectPlace(section, stem if section else ""), text, item)

    def _text(self, path: Path, shown: str) -> str | None:
        try:
            # A link that has just replaced the file is refused, and a pipe does not block.
            opened = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            with os.fdopen(opened, "rb") as file:
                if not stat.S_ISREG(os.fstat(opened).st_mode):
                    self._problem(shown, "This is not a plain file.")
                    return None
                data = file.read(min(MAX_FILE, self._left) + 1)
            text = data.decode("utf-8-sig")
        except OSError as error:
            self._problem(shown, f"This cannot be read: {error.strerror}.")
            return None
        except UnicodeDecodeError as error:
            self._problem(shown, f"This is not UTF-8: byte {error.start} is invalid.")
            return None
        if len(data) > MAX_FILE:
            self._problem(shown, f"This is longer than {MAX_FILE // 1_000_000} MB.")
            return None
        if len(data) > self._left:
            self._problem(shown, f"All files together are over {MAX_ALL_FILES // 1_000_000} MB.")
            return None
        self._left -= len(data)
        return text

    def _problem(self, shown: str, message: str) -> None:
        self.problems.append(FieldProblem(shown, message))


@dataclass(frozen=True, slots=True)
class Written:
    """What an export did: files that it wrote and left as they were, and files of no object."""

    written: int
    unchanged: int
    left_over: tuple[str, ...]


def exported_places(exported: Json) -> dict[ObjectPlace, Json]:
    """Return the objects of an export with their places.

    Raises:
        Unreadable: a key cannot name a file, or two files would have one name on a disk that does
            not tell upper from lower case.
    """
    places = {ObjectPlace("", ""): exported["project"]}
    names: dict[str, str] = {}
    for section in SECTIONS:
        for item in exported[section]:
            key = key_of(section, item)
            if not isinstance(key, str) or FILE_NAME.fullmatch(key) is None:
                raise Unreadable(f"The server has the key {key!r} in {section}: it names no file.")
            place = ObjectPlace(section, key)
            other = names.setdefault(place.path.casefold(), place.path)
            if other != place.path:
                raise Unreadable(f"{other} and {place.path} would be one file on some disks.")
            places[place] = item
    return places


def write_folder(
    folder: ProjectFolder,
    places: Mapping[ObjectPlace, Json],
    schemas: Mapping[str, Json],
    unchanged: Iterable[ObjectPlace],
    *,
    prune: bool,
) -> Written:
    """Write the objects of an export to a folder.

    Args:
        folder: the folder as it was read.
        places: the objects.
        schemas: the JSON Schema of each kind of objects.
        unchanged: objects whose files say what they are, though perhaps in other words.
        prune: whether to delete files of no object.

    Raises:
        Unreadable: a file cannot be written. If that shows before the files are moved to their
            places, which is nearly always, no file was changed.
    """
    left = set(unchanged)
    present = {each.place: each for each in folder.all()}
    texts = {
        f"{SCHEMA_FOLDER}/{schema_file(kind)}": json.dumps(schema, indent=2) + "\n"
        for kind, schema in schemas.items()
    }
    for place, item in places.items():
        if place not in left:
            header = header_of(present[place].text) if place in present else ""
            texts[place.path] = file_text(place, item, header)
    changed = {path: text for path, text in texts.items() if _differs(folder.path / path, text)}
    left_over = [place.path for place in present if place not in places]
    _replace_files(folder.path, changed)
    if prune:
        for path in left_over:
            _or_unreadable(path, (folder.path / path).unlink)
    objects = sum(1 for path in changed if not path.startswith(SCHEMA_FOLDER))
    return Written(objects, len(places) - objects, tuple(left_over))


def _differs(path: Path, text: str) -> bool:
    if path.is_symlink() or path.parent.is_symlink():
        raise Unreadable(f"{path} is a symbolic link or in one; an export writes plain files only.")
    try:
        return path.read_bytes() != text.encode()
    except OSError:
        return True


def _replace_files(folder: Path, texts: Mapping[str, str]) -> None:
    prepared: list[tuple[Path, Path]] = []
    try:
        for name, text in texts.items():
            path = folder / name
            beside = path.with_name(f".{path.name}{UNFINISHED}")
            prepared.append((beside, path))
            _or_unreadable(name, lambda path=path: path.parent.mkdir(parents=True, exist_ok=True))
            _or_unreadable(name, lambda beside=beside, text=text: _write(beside, text))
        for beside, path in prepared:
            _or_unreadable(path.name, lambda beside=beside, path=path: beside.replace(path))
    finally:
        for beside, _ in prepared:
            with suppress(OSError):
                beside.unlink()


def _write(path: Path, text: str) -> None:
    with suppress(FileNotFoundError):
        path.unlink()  # of an export that was interrupted; it may also be a link
    opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    with os.fdopen(opened, "wb") as file:
        file.write(text.encode())


def _or_unreadable(shown: str, action: Any) -> None:
    try:
        action()
    except OSError as error:
        raise Unreadable(f"{shown} cannot be written: {error.strerror}.") from None
