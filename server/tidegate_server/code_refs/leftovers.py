"""Variables, constants and imports that nothing uses once code has gone."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Collection, Iterator

from tidegate_server.code_refs import blocks, rewrites
from tidegate_server.code_refs.python_modules import Function, bound_names
from tidegate_server.code_refs.rewrites import Rewrite
from tidegate_server.code_refs.scopes import INSPECTING
from tidegate_server.code_refs.simplify import is_plain, names_read, qualified_name
from tidegate_server.code_refs.source_text import SourceText

_IMPORTS = ast.Import | ast.ImportFrom


class Leftovers:
    """Removes what is left over in the modules of a tree.

    Args:
        paths: of the tree's Python files.
        read: returns the content of a file, or None.
    """

    def __init__(self, paths: Collection[str], read: Callable[[str], bytes | None]) -> None:
        self._paths = paths
        self._read = read

    def removed(
        self, source: SourceText, path: str, dropped: Collection[tuple[str, str]]
    ) -> tuple[SourceText, list[tuple[int, str]]]:
        """Return a module without what only the removed code used, and notes with their lines.

        Args:
            source: the module without the code.
            path: its path.
            dropped: names that the code used, each with the function it was in.
        """
        names = set(dropped)
        notes: list[tuple[int, str]] = []
        blocked: set[tuple[str, str]] = set()
        while True:
            candidate = next(self._candidates(source, path, names - blocked), None)
            if candidate is None:
                return source, notes
            key, rewrite, note = candidate
            used = names_read(rewrite.removed, source.parents)
            changed = rewrites.apply(source, rewrite)
            if changed is None:
                blocked.add(key)
                source = SourceText(source.text)
                continue
            source = changed
            names |= used
            if note is not None:
                notes.append(note)

    def _candidates(
        self, source: SourceText, path: str, names: Collection[tuple[str, str]]
    ) -> Iterator[tuple[tuple[str, str], Rewrite, tuple[int, str] | None]]:
        functions: dict[str, list[Function]] = {}
        for node in ast.walk(source.tree):
            if isinstance(node, Function):
                around = qualified_name(node, source.parents)
                functions.setdefault(f"{around}.{node.name}".lstrip("."), []).append(node)
        for where, name in sorted(names):
            place = where
            while place:
                found = functions.get(place, [])
                if len(found) == 1:
                    rewrite = _unused_local(source, found[0], name)
                    if rewrite is not None:
                        yield (where, name), rewrite, None
                place = place.rpartition(".")[0]
            rewrite = self._unused_global(source, path, name)
            if rewrite is not None:
                line = rewrite.removed[0].lineno  # type: ignore[attr-defined]
                what = "import" if isinstance(rewrite.removed[0], _IMPORTS) else "constant"
                yield (where, name), rewrite, (line, f"Removed the {what} {name}: nothing uses it.")

    def _unused_global(self, source: SourceText, path: str, name: str) -> Rewrite | None:
        if path.endswith("__init__.py") or name.startswith("__"):
            return None
        everything = list(ast.walk(source.tree))
        if list(bound_names(everything)).count(name) != 1 or _is_mentioned(everything, name):
            return None
        statement = next((each for each in source.tree.body if _binds(each, name)), None)
        if statement is None or "noqa" in source.line_text(statement.lineno):
            return None
        if isinstance(statement, ast.Assign | ast.AnnAssign):
            if not isinstance(statement.value, ast.Constant):
                return None
        elif isinstance(statement, ast.ImportFrom) and statement.module == "__future__":
            return None
        if self._used_elsewhere(path, name):
            return None
        if isinstance(statement, _IMPORTS) and len(statement.names) > 1:
            return _without_alias(source, statement, name)
        return blocks.without_statements(source, [statement], [statement])

    def _used_elsewhere(self, path: str, name: str) -> bool:
        """Return whether another module may import the name from this one."""
        parts = path.removesuffix(".py").split("/")
        module = re.compile(rf"\b{re.escape(parts[-1])}\b".encode())
        word = re.compile(rf"\b{re.escape(name)}\b|\bimport\s*\*".encode())
        for other in self._paths:
            content = None if other == path else self._read(other)
            if content is not None and module.search(content) and word.search(content):
                return True
        return False


def _unused_local(source: SourceText, function: Function, name: str) -> Rewrite | None:
    """Return the change that removes a local variable that nothing reads."""
    everything = list(ast.walk(function))
    if list(bound_names(everything)).count(name) != 1 or _is_mentioned(everything, name):
        return None
    if any(isinstance(each, ast.Name) and each.id in INSPECTING for each in everything):
        return None
    for node in everything:
        if isinstance(node, _IMPORTS) and _binds(node, name):
            if len(node.names) > 1:
                return _without_alias(source, node, name)
            return blocks.without_statements(source, [node], [node])
        if _binds(node, name) and isinstance(node, ast.Assign | ast.AnnAssign):
            value = node.value
            if value is not None and _has_no_effect(value, source):
                return blocks.without_statements(source, [node], [node])
    return None


def _has_no_effect(value: ast.expr, source: SourceText) -> bool:
    if isinstance(value, ast.Call):
        name = value.func.attr if isinstance(value.func, ast.Attribute) else None
        name = value.func.id if isinstance(value.func, ast.Name) else name
        parts = [*value.args, *(each.value for each in value.keywords)]
        return name in ("Context", "EvaluationContext") and all(map(is_plain, parts))
    return is_plain(value)


def _binds(node: ast.AST, name: str) -> bool:
    match node:
        case ast.Assign(targets=[ast.Name(id=found)]) | ast.AnnAssign(target=ast.Name(id=found)):
            return found == name
        case ast.Import(names=names) | ast.ImportFrom(names=names):
            return name in bound_names(names)
    return False


def _is_mentioned(nodes: Collection[ast.AST], name: str) -> bool:
    """Return whether code reads a name, or a text has it: an annotation, ``__all__``."""
    word = re.compile(rf"\b{re.escape(name)}\b")
    return any(
        (isinstance(node, ast.Name) and node.id == name and not isinstance(node.ctx, ast.Store))
        or (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and word.search(node.value) is not None
        )
        for node in nodes
    )


def _without_alias(source: SourceText, node: ast.Import | ast.ImportFrom, name: str) -> Rewrite:
    at = list(bound_names(node.names)).index(name)
    alias = node.names[at]
    kept = [each for each in node.names if each is not alias]
    new = (
        ast.Import(kept)
        if isinstance(node, ast.Import)
        else ast.ImportFrom(node.module, kept, node.level)
    )
    if at + 1 < len(node.names):
        start, end = source.start(alias), source.start(node.names[at + 1])
    else:
        start, end = source.end(node.names[at - 1]), source.end(alias)
    texts = [blocks.deletion_keeping_comments(source, start, end), [(start, end, "")]]
    return Rewrite({id(node): new}, texts, [node], node)
