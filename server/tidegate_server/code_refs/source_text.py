"""Python source as text: where its nodes and tokens are, and exact edits of it."""

from __future__ import annotations

import ast
import io
import tokenize
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

from tidegate_server.code_refs.python_modules import parse

Edit: TypeAlias = tuple[int, int, str]
"""Replace the text from one offset to another one with a new text."""

_NO_CODE = (tokenize.NL, tokenize.COMMENT, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)


@dataclass(frozen=True, slots=True)
class Token:
    """A token with its offsets."""

    kind: int
    text: str
    start: int
    end: int


class SourceText:
    """A valid Python module as text, with line ends ``\\n``.

    Args:
        text: the module.

    Raises:
        SyntaxError, ValueError: it is not valid.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.tree = parse(text)

    @cached_property
    def _starts(self) -> list[int]:
        starts = [0]
        for line in self.text.split("\n"):
            starts.append(starts[-1] + len(line) + 1)
        return starts

    @cached_property
    def parents(self) -> dict[ast.AST, ast.AST]:
        """The parent of each node."""
        return {child: node for node in ast.walk(self.tree) for child in ast.iter_child_nodes(node)}

    def line_start(self, line: int) -> int:
        """Return the offset at which a line begins; the one after the last line is the end."""
        return min(self._starts[line - 1], len(self.text))

    def line_text(self, line: int) -> str:
        """Return a line without its end."""
        return self.text[self.line_start(line) : self._starts[line] - 1]

    def line_count(self) -> int:
        """Return the number of lines."""
        return len(self._starts) - 1

    def start(self, node: ast.AST) -> int:
        """Return the offset of a node's first character."""
        return self._offset(node.lineno, node.col_offset)  # type: ignore[attr-defined]

    def end(self, node: ast.AST) -> int:
        """Return the offset after a node's last character."""
        return self._offset(node.end_lineno, node.end_col_offset)  # type: ignore[attr-defined]

    def of(self, node: ast.AST) -> str:
        """Return the text of a node."""
        return self.text[self.start(node) : self.end(node)]

    def _offset(self, line: int, column: int) -> int:
        text = self.line_text(line)
        if not text.isascii():
            column = len(text.encode()[:column].decode())
        return self._starts[line - 1] + column

    @cached_property
    def tokens(self) -> list[Token]:
        """Every token that is code."""
        readline = io.StringIO(self.text).readline
        return [
            Token(
                each.type,
                each.string,
                self._starts[each.start[0] - 1] + each.start[1],
                self._starts[each.end[0] - 1] + each.end[1],
            )
            for each in tokenize.generate_tokens(readline)
            if each.type not in _NO_CODE and each.type != tokenize.ENDMARKER
        ]

    def token_index(self, offset: int) -> int:
        """Return the index of the first token at or after an offset."""
        return bisect_left(self.tokens, offset, key=lambda each: each.start)

    @cached_property
    def inside_strings(self) -> frozenset[int]:
        """The lines that begin inside of a string, so that their indentation is its content."""
        lines: set[int] = set()
        opened: list[int] = []
        f_start = getattr(tokenize, "FSTRING_START", -1)
        f_end = getattr(tokenize, "FSTRING_END", -1)
        for each in tokenize.generate_tokens(io.StringIO(self.text).readline):
            if each.type == tokenize.STRING:
                lines.update(range(each.start[0] + 1, each.end[0] + 1))
            elif each.type == f_start:
                opened.append(each.start[0])
            elif each.type == f_end:
                lines.update(range(opened.pop() + 1, each.end[0] + 1))
        return frozenset(lines)

    def with_parentheses(self, node: ast.expr, within: ast.expr) -> tuple[int, int]:
        """Return the offsets of an operand with the parentheses around it, inside a node."""
        start, end = self.start(node), self.end(node)
        low, high = self.start(within), self.end(within)
        while True:
            before, after = self.token_index(start) - 1, self.token_index(end)
            if before < 0 or after >= len(self.tokens):
                return start, end
            left, right = self.tokens[before], self.tokens[after]
            if left.text != "(" or right.text != ")" or left.start < low or right.end > high:
                return start, end
            start, end = left.start, right.end

    def edited(self, edits: Sequence[Edit]) -> str:
        """Return the text after edits that do not overlap."""
        parts: list[str] = []
        at = 0
        for start, end, new in sorted(edits):
            if start < at:
                raise ValueError("edits overlap")
            parts += [self.text[at:start], _apart(self.text, start, end, new)]
            at = end
        return "".join((*parts, self.text[at:]))


def _apart(text: str, start: int, end: int, new: str) -> str:
    """Return a new text with a space where it would join a word or a number beside it."""
    if new and start and _is_word(text[start - 1]) and _is_word(new[0]):
        new = f" {new}"
    if new and end < len(text) and _is_word(text[end]) and _is_word(new[-1]):
        new = f"{new} "
    if not new and start > 0 and end < len(text):
        return " " if _is_word(text[start - 1]) and _is_word(text[end]) else ""
    return new


def _is_word(character: str) -> bool:
    return character.isalnum() or character == "_"
