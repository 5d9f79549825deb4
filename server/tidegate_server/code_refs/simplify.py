"""Simplifies a Python module in which some names stand for fixed values.

A rule looks at one use of such a name and returns one exact change. Rules are applied until none
is left. None of them changes what the module does, given that reading a name, an attribute or an
item has no effect of its own.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Any

from tidegate_server.code_refs import blocks, rewrites
from tidegate_server.code_refs.python_modules import Function, bound_names
from tidegate_server.code_refs.rewrites import Rewrite
from tidegate_server.code_refs.scopes import (
    INSPECTING,
    enclosing_function,
    removal_problem,
)
from tidegate_server.code_refs.source_text import SourceText

MAX_CHANGES = 5_000
SCALARS = (bool, int, float, str, type(None))

_COMPARISONS: Mapping[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda item, group: item in group,
    ast.NotIn: lambda item, group: item not in group,
}
_UNKNOWN = object()


class Simplifier:
    """Simplifies one module.

    Args:
        source: the module.
        values: the fixed values by the names that stand for them. No other use has these names.
        prefix: how new names of fixed values begin.

    Attributes:
        source: the module as it is now.
        values: with the names that were added.
        origins: for each name the one that it was made of.
        problems: why a change was not made, by the name that it is about.
        dropped: names that removed code used, each with the function it was in.
    """

    def __init__(self, source: SourceText, values: Mapping[str, object], prefix: str) -> None:
        self.source = source
        self.values = dict(values)
        self.origins: dict[str, str] = {}
        self.problems: dict[str, str] = {}
        self.dropped: set[tuple[str, str]] = set()
        self._blocked: set[tuple[str, str]] = set()
        self._new_names = (f"{prefix}{number}" for number in count(len(values)))

    def run(self) -> None:
        """Make every change."""
        for _ in range(MAX_CHANGES):
            if not self._step():
                return

    def _step(self) -> bool:
        for node in ast.walk(self.source.tree):
            if not isinstance(node, ast.Name) or node.id not in self.values:
                continue
            for rule in RULES:
                key = (rule.__name__, node.id)
                if key in self._blocked:
                    continue
                rewrite = rule(self, node)
                if rewrite is not None:
                    # The tree is used up, also by a change that was not made.
                    self._make(rewrite, node.id, key)
                    return True
        return False

    def _make(self, rewrite: Rewrite, of: str, key: tuple[str, str]) -> None:
        parents = self.source.parents
        function = enclosing_function(rewrite.place, parents)
        problem = removal_problem(function, rewrite.removed)
        if problem is None:
            used = names_read(rewrite.removed, parents)
            changed = rewrites.apply(self.source, rewrite)
            if changed is not None:
                self.source = changed
                self.dropped |= {each for each in used if each[1] not in self.values}
                for name, value in rewrite.values.items():
                    self.values[name] = value
                    self.origins.setdefault(name, of)
                self.problems.pop(of, None)
                return
            self.source = SourceText(self.source.text)
            problem = "The layout of the code is unusual."
        self._blocked.add(key)
        self.problems[of] = problem

    def fixed(self, node: ast.expr) -> object:
        """Return the value that an expression always has, or ``_UNKNOWN``."""
        if isinstance(node, ast.Name):
            return self.values.get(node.id, _UNKNOWN)
        if isinstance(node, ast.Constant) and isinstance(node.value, SCALARS):
            return node.value
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            value = self.fixed(node.operand)
            return -value if type(value) in (int, float) else _UNKNOWN  # type: ignore[operator]
        if isinstance(node, ast.Tuple | ast.List | ast.Set):
            items = [self.fixed(each) for each in node.elts]
            if all(isinstance(each, SCALARS) for each in items):
                return tuple(items)
        return _UNKNOWN

    def new_value(self, old: ast.expr, value: object) -> Rewrite:
        """Return the change of an expression to a fixed value."""
        return rewrites.name(self.source, old, next(self._new_names), value)

    def parent(self, node: ast.AST) -> ast.AST:
        """Return the parent of a node."""
        return self.source.parents[node]


def is_plain(node: ast.expr | None) -> bool:
    """Return whether an expression only reads names, attributes and literals."""
    match node:
        case None | ast.Name() | ast.Constant():
            return True
        case ast.Attribute(value=value) | ast.UnaryOp(op=ast.Not(), operand=value):
            return is_plain(value)
        case ast.BoolOp(values=values) | ast.Tuple(elts=values) | ast.List(elts=values):
            return all(map(is_plain, values))
        case ast.Dict(keys=keys, values=values):
            return all(map(is_plain, (*keys, *values)))
        case ast.Compare(left=left, ops=ops, comparators=others):
            identity = all(isinstance(each, ast.Is | ast.IsNot) for each in ops)
            return identity and all(map(is_plain, (left, *others)))
    return False


def qualified_name(node: ast.AST, parents: Mapping[ast.AST, ast.AST]) -> str:
    """Return the dotted name of the function or class that a node is in; empty: the module."""
    names: list[str] = []
    while (parent := parents.get(node)) is not None:
        if isinstance(parent, Function | ast.ClassDef):
            names.append(parent.name)
        node = parent
    return ".".join(reversed(names))


def names_read(
    nodes: Sequence[ast.AST], parents: Mapping[ast.AST, ast.AST]
) -> set[tuple[str, str]]:
    """Return the names that code reads, each with the function around it."""
    return {
        (qualified_name(each, parents), each.id)
        for node in nodes
        for each in ast.walk(node)
        if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Load)
    }


def _is_condition(simplifier: Simplifier, node: ast.expr) -> bool:
    """Return whether only the truth of an expression matters."""
    parent = simplifier.parent(node)
    match parent:
        case (
            ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test) | ast.Assert(test=test)
        ):
            return test is node
        case ast.UnaryOp(op=ast.Not()):
            return True
        case ast.comprehension(ifs=ifs):
            return node in ifs
        case ast.BoolOp():
            return _is_condition(simplifier, parent)
    return False


def _negation(simplifier: Simplifier, node: ast.Name) -> Rewrite | None:
    parent = simplifier.parent(node)
    if isinstance(parent, ast.UnaryOp) and isinstance(parent.op, ast.Not):
        return simplifier.new_value(parent, not simplifier.values[node.id])
    return None


def _conversion(simplifier: Simplifier, node: ast.Name) -> Rewrite | None:
    match simplifier.parent(node):
        case ast.Call(func=ast.Name(id="bool"), args=[ast.Name()], keywords=[]) as call:
            if "bool" not in set(bound_names(ast.walk(simplifier.source.tree))):
                return simplifier.new_value(call, bool(simplifier.values[node.id]))
    return None


def _choice(simplifier: Simplifier, node: ast.Name) -> Rewrite | None:
    parent = simplifier.parent(node)
    if not isinstance(parent, ast.IfExp) or parent.test is not node:
        return None
    chosen, other = parent.body, parent.orelse
    if not simplifier.values[node.id]:
        chosen, other = other, chosen
    return rewrites.expression(simplifier.source, parent, chosen, [other])


def _comparison(simplifier: Simplifier, node: ast.Name) -> Rewrite | None:
    match simplifier.parent(node):
        case ast.Compare(left=left, ops=[op], comparators=[right]) as compare:
            pass
        case ast.Tuple() | ast.List() | ast.Set() as group:
            match simplifier.parent(group):
                case ast.Compare(left=left, ops=[op], comparators=[right]) as compare:
                    pass
                case _:
                    return None
        case _:
            return None
    first, second = simplifier.fixed(left), simplifier.fixed(right)
    if first is _UNKNOWN or second is _UNKNOWN:
        return None
    if isinstance(op, ast.Is | ast.IsNot):
        # Other values that are equal may or may not be one object.
        if not any(each is None or isinstance(each, bool) for each in (first, second)):
            return None
        return simplifier.new_value(compare, (first is second) == isinstance(op, ast.Is))
    is_group = isinstance(right, ast.Tuple | ast.List | ast.Set)
    if isinstance(op, ast.In | ast.NotIn) and not (is_group or isinstance(second, str)):
        return None
    if not isinstance(op, ast.In | ast.NotIn) and (is_group or isinstance(left, ast.Tuple)):
        return None
    try:
        return simplifier.new_value(compare, bool(_COMPARISONS[type(op)](first, second)))
    except TypeError:
        return None


def _operands(simplifier: Simplifier, node: ast.Name) -> Rewrite | None:
    """Simplify ``and`` and ``or``."""
    parent = simplifier.parent(node)
    if not isinstance(parent, ast.BoolOp):
        return None
    operands = parent.values
    at = operands.index(node)
    decides = bool(simplifier.values[node.id]) == isinstance(parent.op, ast.Or)
    condition = _is_condition(simplifier, parent)
    if decides and condition and all(map(is_plain, operands[:at])):
        return simplifier.new_value(parent, bool(simplifier.values[node.id]))
    if decides and at + 1 < len(operands):
        return _without(simplifier, parent, range(at + 1, len(operands)))
    if decides:
        return None
    is_last = at == len(operands) - 1
    value = simplifier.values[node.id]
    same = isinstance(value, bool) and all(map(_is_boolean, operands[:at]))
    if is_last and not condition and not same:
        return None
    return _without(simplifier, parent, range(at, at + 1))


def _is_boolean(node: ast.expr) -> bool:
    """Return whether an expression is always True or False."""
    match node:
        case ast.UnaryOp(op=ast.Not()):
            return True
        case ast.Constant(value=bool()):
            return True
        case ast.Compare(ops=ops):
            kinds = ast.Is | ast.IsNot | ast.In | ast.NotIn
            return len(ops) == 1 and isinstance(ops[0], kinds)
    return False


def _without(simplifier: Simplifier, old: ast.BoolOp, gone: range) -> Rewrite:
    """Return the change of ``and`` or ``or`` to the same without some neighbouring operands."""
    source = simplifier.source
    removed = [old.values[each] for each in gone]
    kept = [each for number, each in enumerate(old.values) if number not in gone]
    if len(kept) == 1:
        return rewrites.expression(source, old, kept[0], removed)
    spans = [source.with_parentheses(each, old) for each in old.values]
    if gone.start > 0:
        start, end = spans[gone.start - 1][1], spans[gone.stop - 1][1]
    else:
        start, end = spans[0][0], spans[gone.stop][0]
    new = ast.BoolOp(old.op, kept)
    texts = [blocks.deletion_keeping_comments(source, start, end), [(start, end, "")]]
    return Rewrite({id(old): new}, texts, removed, old)


def _branch(simplifier: Simplifier, node: ast.Name) -> Rewrite | None:
    return _branch_of(simplifier, node, with_dead_code=True)


def _branch_alone(simplifier: Simplifier, node: ast.Name) -> Rewrite | None:
    """As ``_branch``, for code that must stay although it is never reached."""
    return _branch_of(simplifier, node, with_dead_code=False)


def _branch_of(simplifier: Simplifier, node: ast.Name, *, with_dead_code: bool) -> Rewrite | None:
    parent = simplifier.parent(node)
    value = bool(simplifier.values[node.id])
    branches = isinstance(parent, ast.If) or (isinstance(parent, ast.While) and not value)
    if branches and isinstance(parent, ast.If | ast.While) and parent.test is node:
        return blocks.chosen_branch(simplifier.source, parent, value, with_dead_code=with_dead_code)
    if isinstance(parent, ast.Match) and parent.subject is node:
        return _matched(simplifier, parent, simplifier.values[node.id])
    return None


def _matched(simplifier: Simplifier, match: ast.Match, value: object) -> Rewrite | None:
    if not isinstance(value, str | bool | None) and not isinstance(value, int):
        return None
    for case in match.cases:
        fits = _fits(case.pattern, value)
        if fits is None or (fits and case.guard is not None):
            return None
        if fits:
            return blocks.chosen_case(simplifier.source, match, case)
    return blocks.chosen_case(simplifier.source, match, None)


def _fits(pattern: ast.pattern, value: object) -> bool | None:
    """Return whether a value fits a pattern; None: not known, or it binds a name."""
    match pattern:
        case ast.MatchValue(value=ast.Constant(value=expected)):
            return bool(expected == value)
        case ast.MatchSingleton(value=expected):
            return expected is value
        case ast.MatchAs(pattern=None, name=None):
            return True
        case ast.MatchOr(patterns=patterns):
            found = [_fits(each, value) for each in patterns]
            return None if None in found else any(found)
    return None


def _unused(simplifier: Simplifier, node: ast.Name) -> Rewrite | None:
    """Remove a statement that is only a value."""
    parent = simplifier.parent(node)
    if isinstance(parent, ast.Expr):
        return blocks.without_statements(simplifier.source, [parent], [parent])
    return None


def _variable(simplifier: Simplifier, node: ast.Name) -> Rewrite | None:
    """Put the value of a local variable that never changes in the places that read it."""
    source, parents = simplifier.source, simplifier.source.parents
    statement = simplifier.parent(node)
    match statement:
        case (
            ast.Assign(targets=[ast.Name(id=name)])
            | ast.AnnAssign(target=ast.Name(id=name), value=ast.Name())
        ):
            pass
        case _:
            return None
    if not isinstance(simplifier.values[node.id], SCALARS):
        return None
    function = enclosing_function(statement, parents)
    if not isinstance(function, Function):
        return None
    everything = list(ast.walk(function))
    bindings = list(bound_names(everything))
    if bindings.count(name) != 1 or any(
        isinstance(each, ast.Name) and each.id in INSPECTING for each in everything
    ):
        return None
    later = blocks.later_statements(statement, parents[statement])
    inside = {id(each) for one in later for each in ast.walk(one)}
    reads = [each for each in everything if isinstance(each, ast.Name) and each.id == name]
    reads = [each for each in reads if isinstance(each.ctx, ast.Load)]
    if not all(id(each) in inside for each in reads):
        return None
    if any(isinstance(parents[each], ast.FormattedValue) for each in reads):
        return None  # a literal in a literal
    removal = blocks.without_statements(source, [statement], [])
    swaps = {**removal.swaps, **{id(each): ast.Name(node.id, ast.Load()) for each in reads}}
    edits = [(source.start(each), source.end(each), node.id) for each in reads]
    texts = [[*text, *edits] for text in removal.texts]
    return Rewrite(swaps, texts, [], statement)


RULES = (
    _negation,
    _conversion,
    _choice,
    _comparison,
    _operands,
    _branch,
    _branch_alone,
    _unused,
    _variable,
)
