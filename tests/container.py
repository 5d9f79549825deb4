"""The Dockerfile, read as a builder reads it, and its build context, copied as it would be."""

from __future__ import annotations

import json
import shlex
import shutil
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction: its word, and the rest on one line."""

    word: str
    text: str

    @property
    def arguments(self) -> list[str]:
        """The parts of an exec form, or of a line."""
        return json.loads(self.text) if self.text.startswith("[") else shlex.split(self.text)


@dataclass
class Stage:
    """One image of the build."""

    base: str
    name: str = ""
    instructions: list[Instruction] = field(default_factory=list)

    def all(self, word: str) -> list[Instruction]:
        return [each for each in self.instructions if each.word == word]

    def one(self, word: str) -> Instruction:
        (found,) = self.all(word)
        return found

    def environment(self) -> dict[str, str]:
        pairs = [part for each in self.all("ENV") for part in shlex.split(each.text)]
        return dict(pair.split("=", 1) for pair in pairs)


def instructions() -> list[Instruction]:
    """Every instruction, continued lines joined, comments left out."""
    text = (ROOT / "Dockerfile").read_text()
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [Instruction(*(line.split(None, 1))) for line in joined.splitlines() if line.strip()]


def stages() -> list[Stage]:
    """The stages, with the default of the argument that names the interpreter."""
    arguments: dict[str, str] = {}
    found: list[Stage] = []
    for each in instructions():
        if each.word == "FROM":
            base, *rest = each.text.split()
            for name, value in arguments.items():
                base = base.replace(f"${{{name}}}", value)
            found.append(Stage(base, rest[1] if rest else ""))
        elif found:
            found[-1].instructions.append(each)
        else:
            name, value = each.text.split("=")
            arguments[name] = value
    return found


def sent(path: Path) -> bool:
    """Whether a file of the repository is sent to the builder: the last rule that fits wins."""
    relative = path.relative_to(ROOT)
    names = [relative, *relative.parents][:-1]
    ignored = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        rule = line.removeprefix("!")
        if not rule or rule.startswith("#"):
            continue
        pattern = rule.removeprefix("**/")
        deep = pattern != rule
        if any(fnmatch(name.name if deep else str(name), pattern) for name in names):
            ignored = not line.startswith("!")
    return not ignored


def copy_context(to: Path) -> None:
    """Copy what a builder would be sent and the Dockerfile copies."""
    for each in stages()[0].all("COPY"):
        *sources, target = each.arguments
        for source in sources:
            for file in [ROOT / source, *(ROOT / source).rglob("*")]:
                if file.is_file() and sent(file):
                    place = file.relative_to(ROOT)
                    if target not in (".", "./"):
                        place = Path(target) / file.relative_to(ROOT / source)
                    (to / place).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(file, to / place)
