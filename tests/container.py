"""Parse the Dockerfile, and copy its build context as a builder does."""

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
    """An instruction of a Dockerfile, its text joined to one line."""

    keyword: str
    text: str

    @property
    def arguments(self) -> list[str]:
        """The arguments, in exec form or shell form."""
        return json.loads(self.text) if self.text.startswith("[") else shlex.split(self.text)


@dataclass
class Stage:
    """A stage of the build: the instructions from one FROM to the next."""

    base: str
    name: str = ""
    instructions: list[Instruction] = field(default_factory=list)

    def all(self, keyword: str) -> list[Instruction]:
        return [each for each in self.instructions if each.keyword == keyword]

    def one(self, keyword: str) -> Instruction:
        (instruction,) = self.all(keyword)
        return instruction

    def environment(self) -> dict[str, str]:
        pairs = [part for each in self.all("ENV") for part in shlex.split(each.text)]
        return dict(pair.split("=", 1) for pair in pairs)


def instructions() -> list[Instruction]:
    """Return every instruction, without comments."""
    text = (ROOT / "Dockerfile").read_text()
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [Instruction(*(line.split(None, 1))) for line in joined.splitlines() if line.strip()]


def stages() -> list[Stage]:
    """Return the stages, with the default values of arguments in the names of base images."""
    arguments: dict[str, str] = {}
    stages: list[Stage] = []
    for each in instructions():
        if each.keyword == "FROM":
            base, *rest = each.text.split()
            for name, value in arguments.items():
                base = base.replace(f"${{{name}}}", value)
            stages.append(Stage(base, rest[1] if rest else ""))
        elif stages:
            stages[-1].instructions.append(each)
        else:
            name, value = each.text.split("=")
            arguments[name] = value
    return stages


def in_build_context(path: Path) -> bool:
    """Return whether .dockerignore includes a file of the repository: the last match wins."""
    relative = path.relative_to(ROOT)
    names = [relative, *relative.parents][:-1]
    ignored = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        rule = line.removeprefix("!")
        if not rule or rule.startswith("#"):
            continue
        pattern = rule.removeprefix("**/")
        at_any_depth = pattern != rule
        if any(fnmatch(name.name if at_any_depth else str(name), pattern) for name in names):
            ignored = not line.startswith("!")
    return not ignored


def copy_context(folder: Path) -> None:
    """Copy the files that the first stage of the Dockerfile copies."""
    for each in stages()[0].all("COPY"):
        *sources, target = each.arguments
        for source in sources:
            for file in [ROOT / source, *(ROOT / source).rglob("*")]:
                if file.is_file() and in_build_context(file):
                    path = file.relative_to(ROOT)
                    if target not in (".", "./"):
                        path = Path(target) / file.relative_to(ROOT / source)
                    (folder / path).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(file, folder / path)
