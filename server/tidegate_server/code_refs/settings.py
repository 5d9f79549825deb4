"""The settings of a scan, which a repository keeps in ``.tidegate/code-refs.yaml``."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any, Final

from tidegate_server.errors import Invalid
from tidegate_server.near_misses import question, similar

SETTINGS_FILE = ".tidegate/code-refs.yaml"

TYPES = ("boolean", "string", "integer", "float", "object")

_FUNCTION = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


@dataclass(frozen=True, slots=True)
class Wrapper:
    """A function of the application that evaluates a flag.

    Attributes:
        function: its name, or the end of its dotted name: ``features.is_on``.
        argument: the position of the key among the arguments, from 0.
        keyword: the name of the key's parameter; empty: it is only given by position.
        type: the type of the flag's value, if the function returns just that; else empty.
    """

    function: str
    argument: int = 0
    keyword: str = ""
    type: str = ""


def camel_case(key: str) -> str:
    """Return ``newCheckout`` for ``new-checkout``."""
    first, *others = _words(key)
    return first + "".join(word.capitalize() for word in others)


def pascal_case(key: str) -> str:
    """Return ``NewCheckout`` for ``new-checkout``."""
    return "".join(word.capitalize() for word in _words(key))


def snake_case(key: str) -> str:
    """Return ``new_checkout`` for ``new-checkout``."""
    return "_".join(_words(key))


def upper_snake_case(key: str) -> str:
    """Return ``NEW_CHECKOUT`` for ``new-checkout``."""
    return snake_case(key).upper()


ALIASES: Final[Mapping[str, Callable[[str], str]]] = {
    "camel_case": camel_case,
    "pascal_case": pascal_case,
    "snake_case": snake_case,
    "upper_snake_case": upper_snake_case,
}


@dataclass(frozen=True, slots=True)
class ScanSettings:
    """What a scan looks for, and where.

    Attributes:
        wrappers: functions of the application that evaluate a flag.
        aliases: forms of keys, of ``ALIASES``, that count as uses.
        exclude: patterns of paths that are left out: ``docs/*``, ``*.min.js``.
        extensions: further extensions of files to search as text, without a dot.
    """

    wrappers: tuple[Wrapper, ...] = ()
    aliases: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    extensions: tuple[str, ...] = ()

    def excludes(self, path: str) -> bool:
        """Return whether a path is left out; a pattern also fits what is below a folder."""
        return any(
            fnmatch(path, pattern) or path.startswith(pattern.rstrip("/") + "/")
            for pattern in self.exclude
        )


def parse_settings(document: Any, name: str = SETTINGS_FILE) -> ScanSettings:
    """Return the settings in a document; ``name`` is what messages call it.

    Raises:
        Invalid: it has an unknown field or a value that is not valid; names both.
    """
    fields = _object(document, name, ("wrappers", "aliases", "exclude", "extensions"))
    listed = _list(fields.get("wrappers"), "wrappers")
    wrappers = [_wrapper(each, number) for number, each in enumerate(listed)]
    aliases = _texts(fields, "aliases")
    for alias in aliases:
        if alias not in ALIASES:
            raise Invalid(f"aliases: {alias!r} is not one of {', '.join(ALIASES)}.")
    extensions = tuple(each.removeprefix(".").lower() for each in _texts(fields, "extensions"))
    return ScanSettings(tuple(wrappers), aliases, _texts(fields, "exclude"), extensions)


def _wrapper(document: Any, number: int) -> Wrapper:
    where = f"wrappers[{number}]"
    if isinstance(document, str):
        document = {"function": document}
    fields = _object(document, where, ("function", "argument", "keyword", "type"))
    function, keyword = fields.get("function"), fields.get("keyword", "")
    if not isinstance(function, str) or _FUNCTION.fullmatch(function) is None:
        raise Invalid(
            f"{where}.function must be the name of a function, such as is_on or features.is_on; "
            f"it is {function!r}."
        )
    if not isinstance(keyword, str) or (keyword and not keyword.isidentifier()):
        raise Invalid(f"{where}.keyword must be the name of a parameter; it is {keyword!r}.")
    argument = fields.get("argument", 0)
    if isinstance(argument, bool) or not isinstance(argument, int) or not 0 <= argument < 20:
        raise Invalid(
            f"{where}.argument must be the position of the key, from 0 to 19; it is {argument!r}."
        )
    kind = fields.get("type", "")
    if kind and kind not in TYPES:
        raise Invalid(f"{where}.type must be one of {', '.join(TYPES)}; it is {kind!r}.")
    return Wrapper(function, argument, keyword, kind)


def _object(document: Any, where: str, known: tuple[str, ...]) -> Mapping[str, Any]:
    if document is None:
        return {}
    if not isinstance(document, Mapping):
        raise Invalid(f"{where} must be an object with the fields {', '.join(known)}.")
    for name in document:
        if name not in known:
            meant = question(similar(str(name), known))
            raise Invalid(f"{where} has no field {str(name)!r}.{meant}")
    return document


def _list(value: Any, where: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise Invalid(f"{where} must be a list.")
    return value


def _texts(fields: Mapping[str, Any], name: str) -> tuple[str, ...]:
    values = _list(fields.get(name), name)
    for value in values:
        if not isinstance(value, str) or not value:
            raise Invalid(f"{name} must be a list of texts; {value!r} is none.")
    return tuple(values)


def _words(key: str) -> list[str]:
    return [word for word in re.split(r"[-._]", key) if word] or [key]
