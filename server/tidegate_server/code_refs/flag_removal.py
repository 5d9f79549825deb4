"""Removes a finished flag from the Python code of a source tree.

Each evaluation of the flag becomes the value of one variant, and what that makes simpler is
simplified. What is not understood stays as it is and is listed. Nothing is written.
"""

from __future__ import annotations

import ast
import io
import json
import tokenize
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tidegate_server.code_refs import rewrites
from tidegate_server.code_refs.leftovers import Leftovers
from tidegate_server.code_refs.patches import FileChange, has_plain_name
from tidegate_server.code_refs.python_calls import FlagCall, flag_calls
from tidegate_server.code_refs.python_modules import PythonModule, PythonTree
from tidegate_server.code_refs.rewrites import Rewrite
from tidegate_server.code_refs.scan import Scan
from tidegate_server.code_refs.settings import ScanSettings
from tidegate_server.code_refs.simplify import Simplifier, is_plain, qualified_name
from tidegate_server.code_refs.source_files import SourceTree
from tidegate_server.code_refs.source_text import SourceText
from tidegate_server.code_refs.uses import Place, Use
from tidegate_server.domain.code_references import CodeUseKind

PREFIX = "_fixed_flag_value_"

_CONTEXTS = frozenset(
    {
        "tidegate.Context",
        "tidegate.context.Context",
        "openfeature.evaluation_context.EvaluationContext",
    }
)
_UTF8 = frozenset({"utf-8", "utf-8-sig"})

BY_HAND = {
    CodeUseKind.TEST: "A test sets the flag; change it by hand.",
    CodeUseKind.TEXT: "The key stands here; nothing says what for.",
    CodeUseKind.ALIAS: "This name may belong to the flag.",
}
NOT_PYTHON = "This is not Python; change it by hand."
NOT_CERTAIN = "It is not certain that this is a call of the SDK."
COMPUTED = "The key is computed; check whether it can be this flag."


@dataclass(frozen=True, slots=True)
class Variant:
    """The variant that stays.

    Attributes:
        key: its name.
        value: its JSON value.
        has_value: False: the caller's default is served.
    """

    key: str
    value: Any
    has_value: bool = True


@dataclass(frozen=True, slots=True)
class Removal:
    """What a removal changes, and what is left for a person.

    Attributes:
        changes: by path.
        left: places that still use the flag, each with the reason; lines before the changes.
        notes: what else a person should look at; lines after the changes.
    """

    changes: tuple[FileChange, ...]
    left: tuple[Place, ...]
    notes: tuple[Place, ...]


class FlagRemoval:
    """One removal of a flag.

    Args:
        tree: the source tree.
        flag: the key.
        variant: what the flag serves to everyone.
        settings: of the scan; wrappers that have a type are replaced, too.
    """

    def __init__(
        self, tree: SourceTree, flag: str, variant: Variant, settings: ScanSettings
    ) -> None:
        self._tree = tree
        self._flag = flag
        self._variant = variant
        self._settings = settings
        self._left: list[Place] = []
        self._notes: list[Place] = []
        self._replaced: set[tuple[str, int]] = set()
        self._removed_lines: set[tuple[str, int]] = set()

    def run(self) -> Removal:
        """Return the changes."""
        scan = Scan(self._tree, {self._flag}, self._settings)
        found = scan.run()
        leftovers = Leftovers(scan.python.paths, self._tree.read)
        changes: list[FileChange] = []
        for path in sorted({use.path for use in found.uses if _is_python_call(use)}):
            before = self._tree.read(path)
            if before is None:
                continue
            if not has_plain_name(path):
                self.leave(path, 1, "A patch cannot name this file; change it by hand.")
                continue
            after = _File(self, path, before, scan.python, leftovers).changed()
            if after is not None and after != before:
                changes.append(FileChange(path, before, after))
        self._list_others(found.uses)
        self._left += [Place(each.path, each.line, COMPUTED) for each in found.computed]
        return Removal(tuple(changes), _in_order(self._left), _in_order(self._notes))

    def _list_others(self, uses: tuple[Use, ...]) -> None:
        listed = {(place.path, place.line) for place in self._left}
        listed |= self._replaced | self._removed_lines
        for use in uses:
            if use.flag != self._flag or (use.path, use.line) in listed:
                continue
            reason = BY_HAND.get(use.kind, NOT_CERTAIN)
            if not use.path.endswith(".py") and use.kind is not CodeUseKind.TEXT:
                reason = NOT_PYTHON
            self._left.append(Place(use.path, use.line, reason))

    @property
    def flag(self) -> str:
        """The key."""
        return self._flag

    @property
    def variant(self) -> Variant:
        """What the flag serves to everyone."""
        return self._variant

    @property
    def settings(self) -> ScanSettings:
        """The settings of the scan."""
        return self._settings

    def leave(self, path: str, line: int, reason: str) -> None:
        """List a place for a person."""
        self._left.append(Place(path, line, reason))

    def forget_calls(self, path: str) -> None:
        """Leave out the calls that were listed: they went with the code around them."""
        self._left = [each for each in self._left if each.path != path]

    def forget_removed_lines(self, path: str, before: str, after: str) -> None:
        """Count the uses in lines that went as gone."""
        remaining = {line.strip() for line in after.split("\n")}
        for number, line in enumerate(before.split("\n"), 1):
            if line.strip() not in remaining:
                self._removed_lines.add((path, number))

    def note(self, path: str, line: int, message: str) -> None:
        """Note what a person should look at."""
        self._notes.append(Place(path, line, message))

    def replaced(self, path: str, line: int) -> None:
        """Count a use as gone."""
        self._replaced.add((path, line))


class _File:
    """The removal in one file."""

    def __init__(
        self,
        removal: FlagRemoval,
        path: str,
        content: bytes,
        python: PythonTree,
        leftovers: Leftovers,
    ) -> None:
        self._removal = removal
        self._path = path
        self._content = content
        self._python = python
        self._leftovers = leftovers

    def changed(self) -> bytes | None:
        """Return the file's new content; None: it cannot be changed."""
        encoding, _ = tokenize.detect_encoding(io.BytesIO(self._content).readline)
        if encoding not in _UTF8:
            self._removal.leave(self._path, 1, f"The file is in {encoding}; change it by hand.")
            return None
        text = self._content.decode(encoding)
        windows = "\r\n" in text
        plain = text.replace("\r\n", "\n")
        if "\r" in plain or (windows and plain.count("\n") != text.count("\r\n")):
            self._removal.leave(self._path, 1, "The line ends of the file are mixed.")
            return None
        source = SourceText(plain)
        prefix = PREFIX
        while prefix in plain:
            prefix = f"_{prefix}"
        source, values, lines, dropped = self._with_fixed_values(source, prefix)
        if not values:
            return None
        simplifier = Simplifier(source, values, prefix)
        simplifier.dropped |= dropped
        simplifier.run()
        for name, problem in simplifier.problems.items():
            origin = name
            while origin in simplifier.origins:
                origin = simplifier.origins[origin]
            self._removal.note(
                self._path,
                lines[origin],
                f"The value stands here instead of simpler code. {problem}",
            )
        source = _with_literals(simplifier)
        cleaned, notes = self._leftovers.removed(source, self._path, simplifier.dropped)
        for line, message in notes:
            self._removal.note(self._path, line, message)
        if not self._calls(cleaned):
            self._removal.forget_calls(self._path)
        self._removal.forget_removed_lines(self._path, plain, cleaned.text)
        after = cleaned.text.replace("\n", "\r\n") if windows else cleaned.text
        return after.encode(encoding)

    def _with_fixed_values(
        self, source: SourceText, prefix: str
    ) -> tuple[SourceText, dict[str, object], dict[str, int], set[tuple[str, str]]]:
        """Put a name in the place of each evaluation of the flag.

        Returns the module, the values by name, the line of each, and the names that the
        evaluations used.
        """
        outcomes = self._outcomes(source)
        lines_of_all = [each.line for each in outcomes]
        together = self._replaced(source, prefix, outcomes)
        if together is not None:
            source, found = together
            chosen = {number: each for number, each in enumerate(outcomes) if each.problem is None}
        else:
            source, found, chosen = SourceText(source.text), {}, {}
            for number in range(len(outcomes)):
                one = self._outcomes(source)[number - len(chosen)]
                alone = self._replaced(source, f"{prefix}{number}_", [one])
                if alone is None or one.problem is not None:
                    source = SourceText(source.text)
                    outcomes[number].problem = one.problem or "The layout of the code is unusual."
                else:
                    source = alone[0]
                    found |= alone[1]
                    chosen[number] = one
        lines = dict(zip(found, (lines_of_all[number] for number in chosen), strict=True))
        for number, line in enumerate(lines_of_all):
            if number in chosen:
                self._removal.replaced(self._path, line)
            else:
                self._removal.leave(self._path, line, outcomes[number].problem or "")
        dropped = {name for each in chosen.values() for name in each.names}
        return source, found, lines, dropped

    def _outcomes(self, source: SourceText) -> list[_Evaluation]:
        module, variant = self._module(source), self._removal.variant
        return [_Evaluation(source, module, call, variant) for call in self._calls(source)]

    def _replaced(
        self, source: SourceText, prefix: str, outcomes: Sequence[_Evaluation]
    ) -> tuple[SourceText, dict[str, object]] | None:
        """Return the module with names in the places of evaluations, and their values."""
        good = [each for each in outcomes if each.problem is None]
        named = {f"{prefix}{number}": each for number, each in enumerate(good)}
        edits = [
            (source.start(each.expression), source.end(each.expression), name)
            for name, each in named.items()
        ]
        swaps = {id(each.expression): ast.Name(name, ast.Load()) for name, each in named.items()}
        removed = [each.expression for each in good]
        changed = rewrites.apply(source, Rewrite(swaps, [edits], removed, source.tree))
        if changed is None:
            return None
        return changed, {name: each.value for name, each in named.items()}

    def _calls(self, source: SourceText) -> list[FlagCall]:
        wrappers = self._removal.settings.wrappers
        found = flag_calls(self._module(source), self._python, wrappers)
        return [call for call in found if call.key == self._removal.flag and call.certain]

    def _module(self, source: SourceText) -> PythonModule:
        return PythonModule(self._path, source.tree)


class _Evaluation:
    """One call: the expression that its value replaces, and the value, or the problem.

    Attributes:
        line: of the call.
        names: what the expression reads, each with the function around it.
    """

    def __init__(
        self, source: SourceText, module: PythonModule, call: FlagCall, variant: Variant
    ) -> None:
        self._source = source
        self._module = module
        self._call = call
        self.expression: ast.expr = call.node
        self.value: object = None
        self.line = call.node.lineno
        self.problem = self._find(variant)
        where = qualified_name(self.expression, source.parents)
        self.names = {
            (where, node.id) for node in ast.walk(self.expression) if isinstance(node, ast.Name)
        }

    def _find(self, variant: Variant) -> str | None:
        call, parents = self._call, self._source.parents
        if not self._is_plain(call.node.func):
            return "What the method is called on is computed, which may have an effect."
        arguments = [*call.node.args, *(each.value for each in call.node.keywords)]
        if not all(map(self._is_plain, arguments)):
            return "An argument is computed, which may have an effect."
        node: ast.AST = call.node
        if call.is_async:
            node = parents[node]
            if not isinstance(node, ast.Await):
                return "The call is not awaited here."
        around = parents.get(node)
        while around is not None and not isinstance(around, ast.stmt):
            if isinstance(around, ast.JoinedStr):
                return "The call is inside of an f-string."
            around = parents.get(around)
        assert isinstance(node, ast.expr)
        if call.details:
            parent = parents[node]
            if isinstance(parent, ast.Attribute) and parent.attr == "variant":
                self.expression, self.value = parent, variant.key
                return None
            if not isinstance(parent, ast.Attribute) or parent.attr != "value":
                return "The details of the evaluation are used, not only its value."
            node = parent
        self.expression = node
        return self._set_value(variant)

    def _set_value(self, variant: Variant) -> str | None:
        if not variant.has_value:
            default = self._call.default
            if not isinstance(default, ast.Constant):
                return "The variant has no value, so the code gets its default, which is computed."
            self.value = default.value
            return None
        value, type_ = variant.value, self._call.type
        if not type_:
            return "The settings do not say which type the wrapper returns."
        fitting = _as_type(value, type_)
        if fitting is _WRONG_TYPE:
            return (
                f"The code asks for {type_}, and the variant's value is {json.dumps(value)}: it "
                "gets its default."
            )
        self.value = fitting
        return None

    def _is_plain(self, node: ast.expr) -> bool:
        if isinstance(node, ast.Attribute):
            return self._is_plain(node.value)
        if isinstance(node, ast.Call):
            full = self._module.qualified(node.func)
            if full == "openfeature.api.get_client" or full in _CONTEXTS:
                parts = [*node.args, *(each.value for each in node.keywords)]
                return all(map(self._is_plain, parts))
            return False
        if isinstance(node, ast.Dict):
            return all(each is not None for each in node.keys) and all(
                map(self._is_plain, node.values)
            )
        return is_plain(node)


_WRONG_TYPE = object()


def _as_type(value: Any, type_: str) -> object:
    """Return a JSON value as the SDK returns it for a type."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if type_ == "integer" and number and float(value).is_integer():
        return int(value)
    if type_ == "float" and number:
        return float(value)
    types: Mapping[str, type | tuple[type, ...]] = {
        "boolean": bool,
        "string": str,
        "object": (dict, list),
    }
    if type_ in types and isinstance(value, types[type_]):
        return value
    return _WRONG_TYPE


def _with_literals(simplifier: Simplifier) -> SourceText:
    """Return the module with the values in the places of their names."""
    source = simplifier.source
    double = source.text.count('"') >= source.text.count("'")
    texts = {name: literal(value, double) for name, value in simplifier.values.items()}
    together = _with_texts(source, texts, list(_fixed_names(source, texts)))
    if together is not None:
        return together
    source = SourceText(source.text)
    while (node := next(_fixed_names(source, texts), None)) is not None:
        changed = _with_texts(source, texts, [node])
        if changed is None:
            source = SourceText(source.text)
            node = next(_fixed_names(source, texts))
            changed = _with_texts(source, {node.id: f"({texts[node.id]})"}, [node])
        if changed is None:
            raise ValueError(f"no place for {texts[node.id]}")
        source = changed
    return source


def _with_texts(
    source: SourceText, texts: Mapping[str, str], nodes: Sequence[ast.Name]
) -> SourceText | None:
    edits = [(source.start(node), source.end(node), texts[node.id]) for node in nodes]
    swaps = {id(node): ast.parse(texts[node.id], mode="eval").body for node in nodes}
    return rewrites.apply(source, Rewrite(swaps, [edits], [], source.tree))


def _fixed_names(source: SourceText, values: Mapping[str, str]) -> Iterator[ast.Name]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Name) and node.id in values:
            yield node


def literal(value: object, double: bool) -> str:
    """Return the Python literal of a JSON value; ``double``: with double quotes."""
    if isinstance(value, str):
        text = repr(value)
        if double and text[0] == "'" and '"' not in text:
            return f'"{text[1:-1]}"'
        return text
    if isinstance(value, dict):
        parts = (
            f"{literal(name, double)}: {literal(each, double)}" for name, each in value.items()
        )
        return f"{{{', '.join(parts)}}}"
    if isinstance(value, list):
        return f"[{', '.join(literal(each, double) for each in value)}]"
    return repr(value)


def _is_python_call(use: Use) -> bool:
    return use.kind is CodeUseKind.CALL and use.certain and use.path.endswith(".py")


def _in_order(places: list[Place]) -> tuple[Place, ...]:
    return tuple(sorted(set(places), key=lambda place: (place.path, place.line, place.message)))
