"""Changes of statements: a branch in the place of its ``if``, statements that go."""

from __future__ import annotations

import ast
import tokenize
from collections.abc import Sequence

from tidegate_server.code_refs.rewrites import Rewrite
from tidegate_server.code_refs.source_text import Edit, SourceText

_ENDS = ast.Return | ast.Raise | ast.Continue | ast.Break


def chosen_branch(
    source: SourceText, node: ast.If | ast.While, value: bool, *, with_dead_code: bool
) -> Rewrite | None:
    """Return the change of an ``if`` whose condition is fixed to the branch that runs.

    Of a ``while`` whose condition is false, its ``else`` remains. ``with_dead_code``: if the branch
    always leaves the block, what follows it goes, too.
    """
    branches = _Branches(source, node)
    kept, gone = (node.body, node.orelse) if value else (node.orelse, node.body)
    removed: list[ast.AST] = [*gone]
    if branches.is_elif:
        return _chosen_elif(source, node, branches, value, removed)  # type: ignore[arg-type]
    if not value and branches.next_is_elif:
        end = source.start(node.orelse[0]) + len("elif")
        edits = [(source.line_start(node.lineno), end, f"{branches.indent}if")]
        return Rewrite({id(node): node.orelse}, [edits], removed, node)
    parent = source.parents[node]
    dead = later_statements(node, parent) if with_dead_code and kept and _ends(kept) else []
    first, last = node.lineno, branches.last_line
    if not kept:
        return without_statements(source, [node], removed)
    text = branches.text_of_body() if value else branches.text_of_else()
    if text is None:
        return None
    start, end = source.line_start(first), source.line_start(last + 1)
    edits = [(start, end, text)]
    swaps: dict[int, ast.AST | Sequence[ast.stmt]] = {id(node): kept}
    if dead:
        removed += dead
        end_of_dead = _last_line(source, dead[-1], branches.indent)
        edits = [(start, source.line_start(end_of_dead + 1), text)]
        swaps |= {id(each): () for each in dead}
    return Rewrite(swaps, [edits], removed, node)


def _chosen_elif(
    source: SourceText,
    node: ast.If,
    branches: _Branches,
    value: bool,
    removed: list[ast.AST],
) -> Rewrite:
    start = source.line_start(node.lineno)
    end = source.line_start(branches.last_line + 1)
    if value:
        colon = branches.colon
        rest = source.line_start(branches.body_end + 1)
        edits = [(source.start(node), colon + 1, "else:"), (rest, end, "")]
        return Rewrite({id(node): node.body}, [edits], removed, node)
    stop = source.line_start(branches.else_line) if branches.else_line else end
    swaps = {id(node): node.orelse}
    return Rewrite(swaps, [[(start, stop, "")]], removed, node, ends_else=True)


def chosen_case(source: SourceText, node: ast.Match, case: ast.match_case | None) -> Rewrite | None:
    """Return the change of a ``match`` to the body of one of its cases; None: to nothing."""
    removed: list[ast.AST] = [each for each in node.cases if each is not case]
    if case is None:
        return without_statements(source, [node], removed)
    indent = _indent(source, node.lineno)
    if case.body[0].lineno == case.pattern.lineno:
        text: str | None = _one_line(source, indent, case.body)
    else:
        first = _after_colon_line(source, source.end(case.guard or case.pattern))
        last = _last_line(source, case.body[-1], _indent(source, case.pattern.lineno))
        text = _moved(source, first, last, _indent(source, case.body[0].lineno), indent)
    if text is None:
        return None
    end = _last_line(source, node, indent)
    edits = [(source.line_start(node.lineno), source.line_start(end + 1), text)]
    return Rewrite({id(node): case.body}, [edits], removed, node)


def without_statements(
    source: SourceText, statements: Sequence[ast.stmt], removed: Sequence[ast.AST]
) -> Rewrite:
    """Return the change that removes neighbouring statements; an empty block gets ``pass``."""
    first, last = statements[0], statements[-1]
    indent = _indent(source, first.lineno)
    end = _last_line(source, last, indent) if _is_compound(last) else last.end_lineno or 0
    block = _block_of(first, source.parents[first])
    start_at, end_at = source.line_start(first.lineno), source.line_start(end + 1)
    only = len(block) == len(statements)
    if only and _needs_a_statement(source.parents[first], block):
        texts = [[(start_at, end_at, f"{indent}pass\n")], _inline(source, first, last, "pass")]
    else:
        # Of the blank lines above and below, the larger number stays.
        above = below = 0
        while _is_blank(source, first.lineno - 1 - above):
            above += 1
        while _is_blank(source, end + 1 + below):
            below += 1
        end += below if first.lineno - above == 1 else min(above, below)
        texts = [
            [(start_at, source.line_start(end + 1), "")],
            [(start_at, end_at, "")],
            *([] if only else _between_semicolons(source, first, last)),
        ]
    swaps = {id(each): () for each in statements}
    return Rewrite(swaps, texts, removed, first)


def later_statements(statement: ast.stmt, parent: ast.AST) -> list[ast.stmt]:
    """Return the statements after one in its block."""
    block = _block_of(statement, parent)
    return block[block.index(statement) + 1 :]


def deletion_keeping_comments(source: SourceText, start: int, end: int) -> list[Edit]:
    """Return edits that delete the code between two offsets, and lines that become empty."""
    text = source.text[start:end]
    if "#" not in text:
        return [(start, end, "")]
    edits: list[Edit] = []
    first = source.token_index(start)
    for token in source.tokens[first:]:
        if token.start >= end:
            break
        low = token.start
        while low > start and source.text[low - 1] in " \t":
            low -= 1
        if edits and edits[-1][1] >= low:
            edits[-1] = (edits[-1][0], token.end, "")
        else:
            edits.append((low, token.end, ""))
    return [_with_its_line(source, low, high) for low, high, _ in edits]


def _with_its_line(source: SourceText, start: int, end: int) -> Edit:
    """Return the deletion of a piece of text, and of its line if nothing else is in it."""
    line_start = source.text.rfind("\n", 0, start) + 1
    line_end = source.text.find("\n", end)
    before, after = source.text[line_start:start], source.text[end:line_end]
    if line_end >= 0 and not before.strip() and not after.strip():
        return (line_start, line_end + 1, "")
    if not before.strip() and after.lstrip().startswith("#"):
        # The comment stays, where the code began.
        start += len(source.text[start:end]) - len(source.text[start:end].lstrip(" \t"))
        end += len(after) - len(after.lstrip(" \t"))
    return (start, end, "")


class _Branches:
    """The lines of an ``if`` or ``while`` and of its branches."""

    def __init__(self, source: SourceText, node: ast.If | ast.While) -> None:
        self._source = source
        self._node = node
        self.indent = _indent(source, node.lineno)
        self.is_elif = source.text.startswith("elif", source.start(node))
        self.colon = _colon(source, source.end(node.test))
        self.else_line, self.next_is_elif = self._find_else()
        self.last_line = _last_line(source, node, self.indent)

    def _find_else(self) -> tuple[int, bool]:
        """Return the line of ``else`` or ``elif`` (0: none), and whether it is ``elif``."""
        node, source = self._node, self._source
        if not node.orelse:
            return 0, False
        follower = node.orelse[0]
        if isinstance(follower, ast.If) and source.text.startswith("elif", source.start(follower)):
            return follower.lineno, True
        for line in range(follower.lineno, node.body[-1].end_lineno or 0, -1):
            text = source.line_text(line)
            if text[: len(self.indent)] == self.indent and text[len(self.indent) :].startswith(
                "else"
            ):
                return line, False
        raise ValueError("no else")

    @property
    def body_end(self) -> int:
        """The last line of the body, comments included."""
        end = self.else_line - 1 if self.else_line else self.last_line
        while _is_blank(self._source, end):
            end -= 1
        return end

    def text_of_body(self) -> str | None:
        """Return the lines of the body, moved to the indentation of the ``if``."""
        return self._moved(self._node.body, self.colon, self.body_end)

    def text_of_else(self) -> str | None:
        """Return the lines of the ``else``, moved to the indentation of the ``if``."""
        colon = _colon(self._source, self._source.line_start(self.else_line))
        return self._moved(self._node.orelse, colon, self.last_line)

    def _moved(self, body: Sequence[ast.stmt], colon: int, last: int) -> str | None:
        line = _line_of(self._source, colon)
        if body[0].lineno == line:
            return _one_line(self._source, self.indent, body)
        body_indent = _indent(self._source, body[0].lineno)
        return _moved(self._source, line + 1, last, body_indent, self.indent)


def _one_line(source: SourceText, indent: str, body: Sequence[ast.stmt]) -> str:
    return f"{indent}{source.text[source.start(body[0]) : source.end(body[-1])]}\n"


def _moved(source: SourceText, first: int, last: int, old: str, new: str) -> str | None:
    """Return lines with another indentation; None: theirs is not a longer one of the same kind."""
    if not old.startswith(new):
        return None
    lines = []
    for number in range(first, last + 1):
        line = source.line_text(number)
        if number not in source.inside_strings and line.startswith(old):
            line = new + line[len(old) :]
        lines.append(f"{line}\n")
    return "".join(lines)


def _inline(source: SourceText, first: ast.stmt, last: ast.stmt, new: str) -> list[Edit]:
    return [(source.start(first), source.end(last), new)]


def _between_semicolons(source: SourceText, first: ast.stmt, last: ast.stmt) -> list[list[Edit]]:
    """Return edits that remove statements from a line with others."""
    start, end = source.start(first), source.end(last)
    before, after = source.token_index(start) - 1, source.token_index(end)
    found: list[list[Edit]] = []
    if after < len(source.tokens) and source.tokens[after].text == ";":
        stop = source.tokens[after].end
        while source.text[stop : stop + 1] == " ":
            stop += 1
        found.append([(start, stop, "")])
    if before >= 0 and source.tokens[before].text == ";":
        found.append([(source.tokens[before].start, end, "")])
    return found


def _colon(source: SourceText, offset: int) -> int:
    """Return the offset of the colon that ends a header, from an offset in it."""
    depth = 0
    for token in source.tokens[source.token_index(offset) :]:
        if token.text in "([{" and token.kind == tokenize.OP:
            depth += 1
        elif token.text in ")]}" and token.kind == tokenize.OP:
            depth -= 1
        elif token.text == ":" and depth <= 0:
            return token.start
    raise ValueError("no colon")


def _after_colon_line(source: SourceText, offset: int) -> int:
    return _line_of(source, _colon(source, offset)) + 1


def _line_of(source: SourceText, offset: int) -> int:
    return source.text.count("\n", 0, offset) + 1


def _indent(source: SourceText, line: int) -> str:
    text = source.line_text(line)
    return text[: len(text) - len(text.lstrip(" \t"))]


def _is_blank(source: SourceText, line: int) -> bool:
    return 1 <= line < source.line_count() and not source.line_text(line).strip()


def _last_line(source: SourceText, node: ast.stmt, indent: str) -> int:
    """Return the last line of a compound statement, with the comments that end its block."""
    end = line = node.end_lineno or node.lineno
    if not _is_compound(node):
        return end
    while line < source.line_count():
        line += 1
        text = source.line_text(line)
        if not text.strip():
            continue
        deeper = text.startswith(indent) and text[len(indent) :][:1] in (" ", "\t")
        if not deeper or not text.lstrip().startswith("#"):
            break
        end = line
    return end


def _is_compound(node: ast.stmt) -> bool:
    return hasattr(node, "body") or isinstance(node, ast.Match)


def _block_of(statement: ast.stmt, parent: ast.AST) -> list[ast.stmt]:
    for _, value in ast.iter_fields(parent):
        if isinstance(value, list) and any(each is statement for each in value):
            return value
    raise ValueError("the statement is in no block")


def _needs_a_statement(parent: ast.AST, block: list[ast.stmt]) -> bool:
    return not isinstance(parent, ast.Module) or getattr(parent, "body", None) is not block


def _ends(block: Sequence[ast.stmt]) -> bool:
    """Return whether what follows a block in its own block is never reached."""
    last = block[-1]
    if isinstance(last, ast.If):
        return bool(last.orelse) and _ends(last.body) and _ends(last.orelse)
    return isinstance(last, _ENDS)
