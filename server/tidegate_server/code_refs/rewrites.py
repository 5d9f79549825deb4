"""One exact change of a Python module: edits of its text, checked against its syntax tree."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from tidegate_server.code_refs.source_text import Edit, SourceText

Swap: TypeAlias = "ast.AST | Sequence[ast.stmt]"


@dataclass(frozen=True, slots=True)
class Rewrite:
    """A change of a module.

    Attributes:
        swaps: what becomes of nodes, by their ``id``; an empty list removes a statement.
        texts: edits of the text that may be the change; the first that fits is made.
        removed: the code that goes.
        place: a node in the scope that the code belongs to.
        values: the names of fixed values that it adds.
        ends_else: whether an ``else`` that loses all of its statements goes.
    """

    swaps: Mapping[int, Swap]
    texts: Sequence[Sequence[Edit]]
    removed: Sequence[ast.AST]
    place: ast.AST
    values: Mapping[str, object] = field(default_factory=dict)
    ends_else: bool = False


def apply(source: SourceText, rewrite: Rewrite) -> SourceText | None:
    """Return the changed module; None: no text has exactly the syntax tree that is wanted."""
    wanted = ast.dump(_Swapped(rewrite).visit(source.tree))
    for edits in rewrite.texts:
        try:
            changed = SourceText(source.edited(edits))
        except (SyntaxError, ValueError):
            continue
        if ast.dump(changed.tree) == wanted:
            return changed
    return None


class _Swapped:
    """Replaces nodes; a block that would be empty gets ``pass``."""

    def __init__(self, rewrite: Rewrite) -> None:
        self._swaps = rewrite.swaps
        self._ends_else = rewrite.ends_else

    def visit(self, node: ast.AST) -> ast.AST:
        """Return what becomes of a node."""
        swap = self._swaps.get(id(node))
        if isinstance(swap, ast.AST):
            node = swap
        for name, value in ast.iter_fields(node):
            if isinstance(value, list):
                kept = list(self._items(value))
                if value and not kept and self._needs_a_statement(name):
                    kept = [ast.Pass()]
                setattr(node, name, kept)
            elif isinstance(value, ast.AST):
                setattr(node, name, self.visit(value))
        return node

    def _needs_a_statement(self, field: str) -> bool:
        return field in ("body", "finalbody") or (field == "orelse" and not self._ends_else)

    def _items(self, items: Sequence[object]) -> Iterator[object]:
        for item in items:
            swap = self._swaps.get(id(item))
            if isinstance(swap, Sequence):
                yield from (self.visit(each) for each in swap)
            elif isinstance(item, ast.AST):
                yield self.visit(item)
            else:
                yield item


def expression(
    source: SourceText,
    old: ast.expr,
    kept: ast.expr,
    removed: Sequence[ast.AST],
) -> Rewrite:
    """Return the change that puts an operand in the place of a whole expression."""
    start, end = source.start(old), source.end(old)
    bare = source.of(kept)
    low, high = source.with_parentheses(kept, old)
    grouped = source.text[low:high]
    texts = [[(start, end, bare)], [(start, end, grouped)], [(start, end, f"({bare})")]]
    return Rewrite({id(old): kept}, texts, removed, old)


def name(source: SourceText, old: ast.expr, new: str, value: object) -> Rewrite:
    """Return the change that puts the name of a fixed value in the place of an expression."""
    edit = (source.start(old), source.end(old), new)
    node = ast.Name(new, ast.Load())
    return Rewrite({id(old): node}, [[edit]], [old], old, {new: value})
