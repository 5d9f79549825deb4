"""Uses of flags in text: source code of any language, templates, configuration."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Collection, Iterator, Mapping
from functools import cached_property

from tidegate_server.code_refs.settings import ALIASES
from tidegate_server.domain.code_references import CodeUseKind
from tidegate_server.domain.field_problems import KEY

_EXTENSION_NAMES = """
astro c cc cjs clj cljs cpp cs csx cts cxx dart ejs erb erl ex exs fs fsx go gohtml gotmpl gradle
groovy h haml handlebars hbs heex hpp htm html j2 java jinja jinja2 js json json5 jsonc jsp jsx kt
kts leex liquid lua m mako mdx mjs ml mm mts mustache njk phtml php pl pm proto ps1 pug py pyi pyx
qml r razor rb rs sbt scala sh sql svelte swift tf tmpl toml tpl ts tsx twig vb vue xml yaml yml zig
"""
EXTENSIONS = frozenset(re.findall(r"\w+", _EXTENSION_NAMES))
"""Extensions of files in which a key in quotes counts as a use."""

LOCK_FILES = frozenset({"package-lock.json", "composer.lock", "npm-shrinkwrap.json"})
MAX_LINE = 2_000
"""Longer lines are generated: minified code."""

_QUOTED = re.compile(rf"""(["'`])({KEY.pattern})\1""")
_IDENTIFIER = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*")

_VALUE_TYPE = r"(?:Bool(?:ean)?|String|Int(?:eger)?|Long|Float|Double|Number|Object|Struct(?:ure)?)"
_METHOD = "|".join(
    (
        rf"[gG]et{_VALUE_TYPE}(?:Value|Details)(?:Async)?",  # Java, JavaScript, C#, PHP, Kotlin
        rf"{_VALUE_TYPE}(?:Value|ValueDetails)",  # Go
        rf"(?:get|fetch)_{_VALUE_TYPE.lower()}_(?:value|details)(?:_async)?",  # Ruby, Rust
        rf"use{_VALUE_TYPE}Flag(?:Value|Details)",  # React
        r"useFlag",
    )
)
_CALL = re.compile(
    rf"""(?:\b(?:{_METHOD})\s*(?:<[^<>()]{{0,80}}>)?\(\s*
         (?:(?:ctx|context(?:\.\w+\(\))?)\s*,\s*)?      # Go: a context comes first
         (?:\w*[kK]ey\s*[:=]\s*)?                       # Ruby, Swift, C#: a named argument
         (["'`])({KEY.pattern})\1)
       | /ofrep/v1/evaluate/flags/({KEY.pattern})""",
    re.VERBOSE,
)


class TextSearch:
    """Finds uses of flags in text.

    Args:
        keys: of the known flags.
        aliases: which forms of keys count, of ``ALIASES``.
    """

    def __init__(self, keys: Collection[str], aliases: Collection[str] = ()) -> None:
        self._keys = frozenset(keys)
        self._aliases = _aliases(self._keys, aliases)

    def calls(self, text: str) -> Iterator[tuple[str, int]]:
        """Yield the keys, known or not, that calls of an SDK have, with their offsets."""
        for match in _CALL.finditer(text):
            group = 3 if match[2] is None else 2
            yield str(match[group]), match.start(group)

    def uses(self, text: str) -> Iterator[tuple[str, CodeUseKind, int]]:
        """Yield keys with their kind and line; each key counts once in a line."""
        lines = LineNumbers(text)
        found: dict[tuple[int, str], CodeUseKind] = {}
        for key, offset in self.calls(text):
            found.setdefault((lines.of(offset), key), CodeUseKind.CALL)
        if self._keys:
            for match in _QUOTED.finditer(text):
                if match[2] in self._keys:
                    found.setdefault((lines.of(match.start()), match[2]), CodeUseKind.TEXT)
        if self._aliases:
            for match in _IDENTIFIER.finditer(text):
                if (alias := self._aliases.get(match[0])) is not None:
                    found.setdefault((lines.of(match.start()), alias), CodeUseKind.ALIAS)
        for (line, key), kind in found.items():
            if lines.length(line) <= MAX_LINE:
                yield key, kind, line

    def mentions(self, text: str) -> bool:
        """Return whether a text has the key or an alias of a flag, wherever it stands."""
        return any(match[2] in self._keys for match in _QUOTED.finditer(text)) or (
            bool(self._aliases)
            and any(match[0] in self._aliases for match in _IDENTIFIER.finditer(text))
        )

    def knows(self, key: str) -> bool:
        """Return whether there is a flag of this key."""
        return key in self._keys

    def find(self, text: str) -> str | None:
        """Return the known key that a text is, or is with ``_`` for ``-`` and ``.``."""
        return text if text in self._keys else self._by_name.get(text)

    def key_of_alias(self, name: str) -> str | None:
        """Return the key that an identifier is an alias of."""
        return self._aliases.get(name)

    @cached_property
    def _by_name(self) -> Mapping[str, str]:
        return {key.replace("-", "_").replace(".", "_"): key for key in sorted(self._keys)}


class LineNumbers:
    """Tells the line of an offset in a text."""

    def __init__(self, text: str) -> None:
        self._text = text

    @cached_property
    def _starts(self) -> list[int]:
        return [0, *(match.end() for match in re.finditer("\n", self._text))]

    def of(self, offset: int) -> int:
        """Return the line of an offset, counted from 1."""
        return bisect_right(self._starts, offset)

    def length(self, line: int) -> int:
        """Return the length of a line with its end."""
        end = self._starts[line] if line < len(self._starts) else len(self._text)
        return end - self._starts[line - 1]


def _aliases(keys: Collection[str], forms: Collection[str]) -> Mapping[str, str]:
    """Return the key of each alias. A key of one word would be found everywhere, so has none."""
    return {
        ALIASES[form](key): key
        for key in sorted(keys)
        if re.search(r"[a-z0-9][-._]+[a-z0-9]", key)
        for form in forms
    }
