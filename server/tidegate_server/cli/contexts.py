"""Named contexts: servers that one has logged in to, kept in a file of one's own.

``TIDEGATE_CONFIG`` names the file; else it is ``tidegate/contexts.json`` in the user's folder
of configurations. It holds tokens, so nobody else can read it.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from tidegate_server.errors import StartupRefused


@dataclass(frozen=True, slots=True)
class Context:
    """A server with a token; the project and the environment that commands use, if named."""

    url: str
    token: str = field(repr=False)
    project: str = ""
    environment: str = ""


@dataclass(frozen=True, slots=True)
class Contexts:
    """The contexts in a file, by name."""

    path: Path
    known: Mapping[str, Context] = field(default_factory=dict)
    current_name: str = ""

    @classmethod
    def of_environment(cls, variables: Mapping[str, str]) -> Contexts:
        """Read the contexts of the file that the environment names; without a file, none.

        Raises:
            StartupRefused: the file cannot be read, or is not one of contexts.
        """
        path = path_of(variables)
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return cls(path)
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise StartupRefused(f"{path} cannot be read: {why}.") from None
        try:
            return cls._of_document(path, json.loads(text))
        except (ValueError, TypeError, KeyError, AttributeError):
            raise StartupRefused(
                f"{path} is not a file of contexts. Mend it, or remove it and log in again."
            ) from None

    @classmethod
    def _of_document(cls, path: Path, document: Any) -> Contexts:
        known = {str(name): Context(**fields) for name, fields in document["contexts"].items()}
        values = [value for each in known.values() for value in asdict(each).values()]
        current = document["current"]
        if not all(isinstance(value, str) for value in (*values, current)):
            raise TypeError
        return cls(path, known, current)

    @property
    def current(self) -> Context | None:
        """The context in use; None: there is none."""
        return self.known.get(self.current_name)

    def named(self, name: str) -> Context:
        """A context by its name; raises ``StartupRefused``."""
        if name not in self.known:
            have = f"there are {', '.join(sorted(self.known))}" if self.known else "there is none"
            raise StartupRefused(
                f"There is no context {name!r} in {self.path} ({have}); `tidegate login` makes one."
            )
        return self.known[name]

    @property
    def readable_by_others(self) -> bool:
        """Whether others than the owner may read the file."""
        try:
            return bool(self.path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO))
        except OSError:
            return False

    def with_context(self, name: str, context: Context) -> Contexts:
        """These contexts and another one, which is in use from now on."""
        return replace(self, known={**self.known, name: context}, current_name=name)

    def without(self, name: str) -> Contexts:
        """These contexts without one; none is in use if it was that one."""
        left = {key: context for key, context in self.known.items() if key != name}
        return replace(
            self, known=left, current_name="" if self.current_name == name else self.current_name
        )

    def write(self) -> None:
        """Write the file, as a whole and readable by its owner only.

        Raises:
            StartupRefused: it cannot be written.
        """
        document = {
            "current": self.current_name,
            "contexts": {name: asdict(context) for name, context in self.known.items()},
        }
        path = self.path.resolve()
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            with os.fdopen(os.open(draft, flags, 0o600), "w", encoding="utf-8") as file:
                json.dump(document, file, indent=2)
                file.write("\n")
            draft.replace(path)
        except OSError as error:
            raise StartupRefused(
                f"{path} cannot be written: {error.strerror}. TIDEGATE_CONFIG names another file."
            ) from None
        finally:
            with suppress(OSError):
                draft.unlink(missing_ok=True)


def path_of(variables: Mapping[str, str]) -> Path:
    """Where the contexts are kept; raises ``StartupRefused`` where there is no home folder."""
    if named := variables.get("TIDEGATE_CONFIG"):
        return Path(named)
    if folder := variables.get("XDG_CONFIG_HOME"):
        return Path(folder) / "tidegate" / "contexts.json"
    try:
        return Path("~/.config/tidegate/contexts.json").expanduser()
    except RuntimeError:
        raise StartupRefused(
            "There is no home folder to keep contexts in; name a file in TIDEGATE_CONFIG, or set "
            "TIDEGATE_URL and TIDEGATE_TOKEN."
        ) from None
