"""What names mean in the functions of a Python module, as far as removing code may change it."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterable, Iterator, Sequence

from tidegate_server.code_refs.python_modules import Function, bound_names

INSPECTING = frozenset({"locals", "eval", "exec", "vars", "dir"})
"""Functions that see local variables by name."""


def enclosing_function(node: ast.AST, parents: dict[ast.AST, ast.AST]) -> ast.AST | None:
    """Return the function or class whose scope a statement belongs to; None: the module."""
    while (parent := parents.get(node)) is not None:
        if isinstance(parent, Function | ast.ClassDef | ast.Lambda):
            return parent
        node = parent
    return None


def own_nodes(nodes: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """Yield nodes and what is below them in the same scope, nested functions only by name."""
    for node in nodes:
        yield node
        if isinstance(node, Function):
            inner = [*node.decorator_list, *node.args.defaults, *node.args.kw_defaults]
            yield from own_nodes(each for each in inner if each is not None)
        elif isinstance(node, ast.Lambda):
            inner = [*node.args.defaults, *node.args.kw_defaults]
            yield from own_nodes(each for each in inner if each is not None)
        elif isinstance(node, ast.ClassDef):
            yield from own_nodes([*node.decorator_list, *node.bases, *node.keywords])
        elif isinstance(node, ast.comprehension):
            # Its targets belong to the comprehension.
            yield from own_nodes([node.iter, *node.ifs])
        else:
            yield from own_nodes(ast.iter_child_nodes(node))


def bound_in(function: ast.AST, without: Collection[ast.AST] = ()) -> set[str]:
    """Return the names that are local to a function, apart from nodes that go."""
    names = set(bound_names(_remaining(function, without)))
    if isinstance(function, Function | ast.Lambda):
        names |= set(bound_names(ast.walk(function.args)))
    return names


def used_in(function: ast.AST, without: Collection[ast.AST] = ()) -> set[str]:
    """Return the names that a function and the functions in it use, apart from nodes that go."""
    return set(_names_used(function, frozenset(map(id, without))))


def removal_problem(function: ast.AST | None, removed: Collection[ast.AST]) -> str | None:
    """Return why code cannot go from a function without changing what remains; None: it can."""
    if function is None or isinstance(function, ast.ClassDef):
        return None
    own = list(own_nodes(removed))
    if isinstance(function, ast.Lambda):
        kinds = ast.NamedExpr | ast.Yield | ast.YieldFrom
        return "The code is in a lambda." if any(isinstance(each, kinds) for each in own) else None
    if any(isinstance(node, ast.Global | ast.Nonlocal) for node in own):
        return "The code that would go declares a name as global or nonlocal."
    remaining = list(_remaining(function, removed))
    if _yields(own) and not _yields(remaining):
        return "The function would no longer be a generator."
    lost = set(bound_names(own)) - bound_in(function, removed)
    if names := sorted(lost & used_in(function, removed)):
        return f"{names[0]} would no longer be a local variable of the function that uses it."
    return None


def _remaining(function: ast.AST, without: Collection[ast.AST]) -> Iterator[ast.AST]:
    gone = frozenset(map(id, without))
    body: Sequence[ast.AST] = function.body if isinstance(function, Function) else [function]
    return _own_except(body, gone)


def _own_except(nodes: Iterable[ast.AST], gone: frozenset[int]) -> Iterator[ast.AST]:
    for node in nodes:
        if id(node) in gone:
            continue
        children = ast.iter_child_nodes(node)
        if isinstance(node, Function | ast.Lambda | ast.ClassDef | ast.comprehension):
            yield from own_nodes([node])
        else:
            yield node
            yield from _own_except(children, gone)


def _names_used(node: ast.AST, gone: frozenset[int]) -> Iterator[str]:
    if id(node) in gone:
        return
    if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Store):
        yield node.id
    elif isinstance(node, ast.Global | ast.Nonlocal):
        yield from node.names
    for child in ast.iter_child_nodes(node):
        yield from _names_used(child, gone)


def _yields(nodes: Iterable[ast.AST]) -> bool:
    return any(isinstance(node, ast.Yield | ast.YieldFrom) for node in nodes)
