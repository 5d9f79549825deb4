"""The contexts file: servers and tokens that `tidegate login` has saved.

``TIDEGATE_CONFIG`` names the file; the default is ``tidegate/contexts.json`` in the user's
configuration folder. It contains tokens, so only its owner can read it.
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
    """A server and a token, and the project and environment that commands use by default."""

    url: str
    token: str = field(repr=False)
    project: str = ""
    environment: str = ""


@dataclass(frozen=True, slots=True)
class Contexts:
    """The contexts in a file, by name."""

    path: Path
    by_name: Mapping[str, Context] = field(default_factory=dict)
    current_name: str = ""

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> Contexts:
        """Read the contexts file; empty if there is none.

        Raises:
            StartupRefused: the file cannot be read, or is not a contexts file.
        """
        path = contexts_path(environ)
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return cls(path)
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise StartupRefused(f"Cannot read {path}: {why}.") from None
        try:
            return cls._from_document(path, json.loads(text))
        except (ValueError, TypeError, KeyError, AttributeError):
            raise StartupRefused(
                f"{path} is not a contexts file. Fix it, or remove it and log in again."
            ) from None

    @classmethod
    def _from_document(cls, path: Path, document: Any) -> Contexts:
        by_name = {str(name): Context(**fields) for name, fields in document["contexts"].items()}
        values = [value for each in by_name.values() for value in asdict(each).values()]
        current = document["current"]
        if not all(isinstance(value, str) for value in (*values, current)):
            raise TypeError
        return cls(path, by_name, current)

    @property
    def current(self) -> Context | None:
        """The current context, if there is one."""
        return self.by_name.get(self.current_name)

    def get(self, name: str) -> Context:
        """Return a context by its name.

        Raises:
            StartupRefused: there is no context of this name.
        """
        if name not in self.by_name:
            names = ", ".join(sorted(self.by_name)) or "none"
            raise StartupRefused(
                f"There is no context {name!r} in {self.path} (contexts: {names}). "
                "Create one with `tidegate login`."
            )
        return self.by_name[name]

    @property
    def readable_by_others(self) -> bool:
        """Whether users other than the owner may read the file."""
        try:
            return bool(self.path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO))
        except OSError:
            return False

    def with_context(self, name: str, context: Context) -> Contexts:
        """Return these contexts with one added or replaced, which becomes the current one."""
        return replace(self, by_name={**self.by_name, name: context}, current_name=name)

    def without(self, name: str) -> Contexts:
        """Return these contexts without one; if it was the current one, none is current."""
        rest = {key: context for key, context in self.by_name.items() if key != name}
        return replace(
            self, by_name=rest, current_name="" if self.current_name == name else self.current_name
        )

    def write(self) -> None:
        """Write the file atomically, readable by its owner only.

        Raises:
            StartupRefused: it cannot be written.
        """
        document = {
            "current": self.current_name,
            "contexts": {name: asdict(context) for name, context in self.by_name.items()},
        }
        path = self.path.resolve()
        if path.exists() and not path.is_file():
            raise StartupRefused(
                f"Cannot write {path}: it is not a file. Set TIDEGATE_CONFIG to use another file."
            )
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            with os.fdopen(os.open(temporary, flags, 0o600), "w", encoding="utf-8") as file:
                json.dump(document, file, indent=2)
                file.write("\n")
            temporary.replace(path)
        except OSError as error:
            raise StartupRefused(
                f"Cannot write {path}: {error.strerror}. Set TIDEGATE_CONFIG to use another file."
            ) from None
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def contexts_path(environ: Mapping[str, str]) -> Path:
    """Return the path of the contexts file.

    Raises:
        StartupRefused: there is no home folder, and no variable names another place.
    """
    if path := environ.get("TIDEGATE_CONFIG"):
        return Path(path)
    if folder := environ.get("XDG_CONFIG_HOME"):
        return Path(folder) / "tidegate" / "contexts.json"
    try:
        return Path("~/.config/tidegate/contexts.json").expanduser()
    except RuntimeError:
        raise StartupRefused(
            "There is no home folder for the contexts file: set TIDEGATE_CONFIG to a file, or set "
            "TIDEGATE_URL and TIDEGATE_TOKEN."
        ) from None
