"""Calls in Python modules that evaluate a flag, or set one for a test."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from tidegate_server.code_refs.python_modules import PythonModule, PythonTree, dotted
from tidegate_server.code_refs.settings import TYPES, Wrapper
from tidegate_server.domain.field_problems import KEY

_TIDEGATE = re.compile(rf"({'|'.join(TYPES)})(_details)?")
_OPENFEATURE = re.compile(rf"get_({'|'.join(TYPES)})_(value|details)(_async)?")

CALL_HINT = re.compile(
    rb"\b(?:get_)?(?:boolean|string|integer|float|object)(?:_value|_details)?(?:_async)?\s*\("
)
"""What a file with a call of an SDK has; others need not be parsed."""

TEST_HINT = re.compile(rb"\b(?:each_variant|flags|override|assert_asked|assert_not_asked)\s*\(")

_DEFAULTS: dict[str, type | tuple[type, ...]] = {
    "boolean": bool,
    "string": str,
    "integer": int,
    "float": (float, int),
}
_TEST_FUNCTIONS = frozenset({"tidegate.testing.flags", "tidegate.testing.override"})
_ASSERTIONS = frozenset({"assert_asked", "assert_not_asked", "count"})


@dataclass(frozen=True, slots=True)
class FlagCall:
    """A call that evaluates a flag.

    Attributes:
        node: the call.
        key: the flag's key; None: it is computed when the program runs.
        type: the type that is asked for, of ``TYPES``; empty: a wrapper that does not say.
        details: whether the call returns details, not the value.
        is_async: whether it returns an awaitable.
        default: the caller's default, if it is given.
        certain: whether the call is one of the SDK's beyond doubt.
    """

    node: ast.Call
    key: str | None
    type: str
    details: bool
    is_async: bool
    default: ast.expr | None
    certain: bool


def flag_calls(
    module: PythonModule, tree: PythonTree, wrappers: Collection[Wrapper]
) -> Iterator[FlagCall]:
    """Yield the calls of a module that evaluate a flag."""
    for node in module.nodes:
        if isinstance(node, ast.Call):
            found = _sdk_call(node, module, tree) or _wrapper_call(node, module, tree, wrappers)
            if found is not None:
                yield found


def _sdk_call(node: ast.Call, module: PythonModule, tree: PythonTree) -> FlagCall | None:
    function = node.func
    if not isinstance(function, ast.Attribute):
        return None
    if match := _OPENFEATURE.fullmatch(function.attr):
        type_, form, is_async = match[1], match[2], match[3] is not None
        key = _argument(node, 0, "flag_key")
        default = _argument(node, 1, "default_value")
    elif match := _TIDEGATE.fullmatch(function.attr):
        type_, form, is_async = match[1], "details" if match[2] else "value", False
        key, default = _argument(node, 0, "key"), _argument(node, 1, "default")
    else:
        return None
    if key is None or default is None:
        return None
    text = tree.text_of(key, module)
    known_client = tree.is_client(function.value, module)
    certain = (
        known_client
        or function.attr.startswith("get_")
        or _looks_like_the_sdk(function, type_, text, default, module)
    )
    # Methods of other libraries have these names, too: string, object.
    if not certain and (text is None or KEY.fullmatch(text) is None):
        return None
    return FlagCall(node, text, type_, form == "details", is_async, default, certain)


def _looks_like_the_sdk(
    function: ast.Attribute, type_: str, key: str | None, default: ast.expr, module: PythonModule
) -> bool:
    """Return whether a call on an unknown object has a key and a default of the right type."""
    if key is None or KEY.fullmatch(key) is None:
        return False
    root: ast.expr = function.value
    while isinstance(root, ast.Attribute):
        root = root.value
    if isinstance(root, ast.Name) and root.id in module.imports:
        # An imported module's function, unless the import is a client of some name.
        names = {root.id, *module.imports[root.id], *_attributes(function.value)}
        if not any(re.search(r"client|flag|feature|toggle|tidegate", name) for name in names):
            return False
    if type_ == "object":
        return isinstance(default, ast.Dict | ast.List)
    expected = _DEFAULTS[type_]
    return (
        isinstance(default, ast.Constant)
        and isinstance(default.value, expected)
        and isinstance(default.value, bool) == (type_ == "boolean")
    )


def _attributes(node: ast.expr) -> Iterator[str]:
    while isinstance(node, ast.Attribute):
        yield node.attr
        node = node.value


def _wrapper_call(
    node: ast.Call, module: PythonModule, tree: PythonTree, wrappers: Collection[Wrapper]
) -> FlagCall | None:
    name = dotted(node.func)
    if not name:
        return None
    full = module.qualified(node.func)
    for wrapper in wrappers:
        suffix = f".{wrapper.function}"
        if f".{name}".endswith(suffix) or f".{full}".endswith(suffix):
            key = _argument(node, wrapper.argument, wrapper.keyword)
            if key is None:
                continue
            text = tree.text_of(key, module)
            return FlagCall(node, text, wrapper.type, False, False, None, True)
    return None


def test_settings(module: PythonModule, tree: PythonTree) -> Iterator[tuple[str, int]]:
    """Yield keys, with lines, that tests set or ask about; some with ``_`` for other signs."""
    for node in module.nodes:
        if not isinstance(node, ast.Call):
            continue
        name, full = dotted(node.func), module.qualified(node.func)
        if full == "tidegate.testing.each_variant" or name.rpartition(".")[2] in _ASSERTIONS:
            keys = node.args[:1]
        elif full in _TEST_FUNCTIONS or name in ("flags", "pytest.mark.flags"):
            keys = [
                key
                for each in node.args[:1]
                if isinstance(each, ast.Dict)
                for key in each.keys
                if key is not None
            ]
            yield from (
                (keyword.arg, keyword.value.lineno)
                for keyword in node.keywords
                if keyword.arg is not None and keyword.arg not in ("strict", "everywhere")
            )
        else:
            continue
        for key in keys:
            if (text := tree.text_of(key, module)) is not None:
                yield text, key.lineno


def _argument(node: ast.Call, position: int, keyword: str) -> ast.expr | None:
    if any(isinstance(each, ast.Starred) for each in node.args[: position + 1]):
        return None
    if position < len(node.args):
        return node.args[position]
    return next((each.value for each in node.keywords if each.arg == keyword and keyword), None)
