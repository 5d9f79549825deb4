"""What the names in a tree's Python modules stand for, as far as their syntax trees say.

Modules are parsed when a name leads to them, so that a scan parses few of a tree's files.
"""

from __future__ import annotations

import ast
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

MAX_STEPS = 5
"""How many imports a name is followed through."""

MAX_KEPT = 200
"""How many modules are kept in memory, the latest."""

CLIENT_TYPES = frozenset(
    {
        "tidegate.Client",
        "tidegate.client.Client",
        "openfeature.client.OpenFeatureClient",
    }
)
CLIENT_FACTORIES = CLIENT_TYPES | {
    "tidegate.Client.offline",
    "tidegate.client.Client.offline",
    "tidegate.testing.client",
    "openfeature.api.get_client",
}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def parse(source: bytes | str) -> ast.Module:
    """Return a syntax tree; raises ``SyntaxError`` or ``ValueError``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about escapes in somebody else's strings
        try:
            return ast.parse(source)
        except (RecursionError, MemoryError) as error:
            raise ValueError("the code is nested too deeply") from error


@dataclass(eq=False)
class PythonModule:
    """A Python file.

    Attributes:
        path: relative to the tree's root.
        tree: its syntax tree.
    """

    path: str
    tree: ast.Module

    @property
    def package(self) -> tuple[str, ...]:
        """The folders that a relative import begins at."""
        return tuple(self.path.split("/")[:-1])

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """Every node of the tree."""
        return list(ast.walk(self.tree))

    @cached_property
    def imports(self) -> Mapping[str, tuple[str, ...]]:
        """What each imported name stands for: ``c`` for ``("tidegate", "Client")``.

        Relative imports begin with ``"."`` and the folders.
        """
        found: dict[str, tuple[str, ...]] = {}
        for node in self.nodes:
            if isinstance(node, ast.Import):
                for alias in node.names:
                    parts = tuple(alias.name.split("."))
                    if alias.asname:
                        found[alias.asname] = parts
                    else:
                        found.setdefault(parts[0], parts[:1])
            elif isinstance(node, ast.ImportFrom):
                base = tuple((node.module or "").split(".")) if node.module else ()
                if node.level:
                    up = self.package[: len(self.package) - (node.level - 1)]
                    base = (".", *up, *base)
                for alias in node.names:
                    found[alias.asname or alias.name] = (*base, alias.name)
        return found

    @cached_property
    def bindings(self) -> Counter[str]:
        """How often each name is bound in the module and its functions, parameters included."""
        of_classes = Counter(name for each in self._class_level for name, _ in _assigned(each))
        return Counter(bound_names(self.nodes)) - of_classes

    @cached_property
    def assignments(self) -> Mapping[str, ast.expr]:
        """The values of names that the module and its functions bind once, by an assignment."""
        of_classes = set(self._class_level)
        return {
            name: value
            for node in self.nodes
            if node not in of_classes
            for name, value in _assigned(node)
            if self.bindings[name] == 1
        }

    @cached_property
    def _class_level(self) -> list[ast.stmt]:
        """The statements directly in the bodies of classes."""
        classes = (node for node in self.nodes if isinstance(node, ast.ClassDef))
        return [statement for node in classes for statement in node.body]

    @cached_property
    def classes(self) -> Mapping[str, Mapping[str, ast.expr]]:
        """The values that classes at the module's top level give to their names."""
        return {
            node.name: dict(pair for each in node.body for pair in _assigned(each))
            for node in self.tree.body
            if isinstance(node, ast.ClassDef)
        }

    @cached_property
    def annotated(self) -> frozenset[str]:
        """Names and attributes of ``self`` that are annotated as a client."""
        return frozenset(
            name
            for node in self.nodes
            for name, annotation in _annotations(node)
            if self._names_client(annotation)
        )

    @cached_property
    def client_names(self) -> frozenset[str]:
        """Names, and attributes of ``self`` with a dot before, that hold a client somewhere."""
        made = {
            name
            for node in self.nodes
            if isinstance(node, ast.Assign | ast.AnnAssign | ast.NamedExpr | ast.withitem)
            for name, value in _assigned_anywhere(node)
            if self.makes_client(value)
        }
        return self.annotated | made

    def makes_client(self, node: ast.expr) -> bool:
        """Return whether an expression makes a client."""
        return isinstance(node, ast.Call) and self.qualified(node.func) in CLIENT_FACTORIES

    def qualified(self, node: ast.AST) -> str:
        """Return the full name of what an expression names, such as ``tidegate.Client``."""
        first, *rest = dotted(node).split(".")
        return ".".join((*self.imports.get(first, (first,)), *rest))

    def _names_client(self, annotation: ast.expr) -> bool:
        if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
            try:
                annotation = ast.parse(annotation.value, mode="eval").body
            except (SyntaxError, ValueError):
                return False
        return any(self.qualified(node) in CLIENT_TYPES for node in ast.walk(annotation))


@dataclass
class PythonTree:
    """The Python modules of a source tree.

    Args:
        paths: of the Python files.
        read: returns the content of a file, or None.
    """

    paths: frozenset[str]
    read: Callable[[str], bytes | None]
    _parsed: dict[str, PythonModule | None] = field(default_factory=dict)

    def add(self, path: str, tree: ast.Module) -> PythonModule:
        """Keep a module that was parsed."""
        module = PythonModule(path, tree)
        self._keep(path, module)
        return module

    def module(self, parts: tuple[str, ...], near: str) -> PythonModule | None:
        """Return the module of a dotted name.

        Args:
            parts: of the name; relative to the root after ``"."``.
            near: the path of the importing module. Of several that fit, its neighbour counts.
        """
        if not parts:
            return None
        name = "/".join(parts[1:] if parts[0] == "." else parts)
        candidates = [
            path
            for path in self._by_stem.get(parts[-1], ())
            for stem in (path.removesuffix("/__init__.py").removesuffix(".py"),)
            if stem == name or (parts[0] != "." and stem.endswith(f"/{name}"))
        ]
        if len(candidates) > 1:
            start = near.split("/")[0]
            candidates = [path for path in candidates if path.split("/")[0] == start]
        return self._load(candidates[0]) if len(candidates) == 1 else None

    @cached_property
    def _by_stem(self) -> Mapping[str, list[str]]:
        stems: dict[str, list[str]] = {}
        for path in self.paths:
            stem = path.removesuffix("/__init__.py").removesuffix(".py").rpartition("/")[2]
            stems.setdefault(stem, []).append(path)
        return stems

    def _load(self, path: str) -> PythonModule | None:
        if path not in self._parsed:
            content = self.read(path)
            try:
                tree = None if content is None else parse(content)
            except (SyntaxError, ValueError):
                tree = None
            self._keep(path, None if tree is None else PythonModule(path, tree))
        return self._parsed[path]

    def _keep(self, path: str, module: PythonModule | None) -> None:
        self._parsed[path] = module
        if len(self._parsed) > MAX_KEPT:
            del self._parsed[next(iter(self._parsed))]

    def text_of(self, node: ast.expr, module: PythonModule, steps: int = MAX_STEPS) -> str | None:
        """Return the text that an expression always is: a literal or a constant; else None."""
        if steps == 0:
            return None
        match node:
            case ast.Constant(value=str(text)):
                return text
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                parts = (self.text_of(left, module, steps), self.text_of(right, module, steps))
                return None if None in parts else f"{parts[0]}{parts[1]}"
            case ast.Name(id=name):
                if (value := module.assignments.get(name)) is not None:
                    return self.text_of(value, module, steps - 1)
                return self._imported_text(module.imports.get(name), (), module, steps)
            case ast.Attribute(value=inner, attr="value"):
                return self.text_of(inner, module, steps)
            case ast.Attribute(value=ast.Name(id=name), attr=attribute):
                if name in module.classes:
                    value = module.classes[name].get(attribute)
                    return None if value is None else self.text_of(value, module, steps - 1)
                return self._imported_text(module.imports.get(name), (attribute,), module, steps)
            case ast.Attribute(
                value=ast.Attribute(value=ast.Name(id=name), attr=middle), attr=last
            ):
                found = module.imports.get(name)
                return self._imported_text(found, (middle, last), module, steps)
        return None

    def is_client(self, node: ast.expr, module: PythonModule, steps: int = MAX_STEPS) -> bool:
        """Return whether an expression is a client for certain."""
        if steps == 0:
            return False
        match node:
            case ast.Call():
                return module.makes_client(node)
            case ast.Name(id=name):
                if name in module.client_names:
                    return True
                return self._imported_client(module.imports.get(name), module, steps)
            case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=attribute):
                return f".{attribute}" in module.client_names
            case ast.Attribute(value=ast.Name(id=name), attr=attribute):
                found = module.imports.get(name)
                return found is not None and self._imported_client(
                    (*found, attribute), module, steps
                )
        return False

    def _imported_client(
        self, parts: tuple[str, ...] | None, module: PythonModule, steps: int
    ) -> bool:
        if parts is None or len(parts) < 2:
            return False
        target = self.module(parts[:-1], module.path)
        name = ast.Name(parts[-1], ast.Load())
        return target is not None and self.is_client(name, target, steps - 1)

    def _imported_text(
        self,
        parts: tuple[str, ...] | None,
        attributes: tuple[str, ...],
        module: PythonModule,
        steps: int,
    ) -> str | None:
        if parts is None:
            return None
        parts = (*parts, *attributes)
        for size in (len(parts) - 1, len(parts) - 2):
            target = self.module(parts[:size], module.path) if size > 0 else None
            if target is not None:
                node: ast.expr = ast.Name(parts[size], ast.Load())
                for attribute in parts[size + 1 :]:
                    node = ast.Attribute(node, attribute, ast.Load())
                return self.text_of(node, target, steps - 1)
        return None


def dotted(node: ast.AST) -> str:
    """Return the name that an expression is, such as ``self.flags``; empty: it is no name."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join((node.id, *reversed(parts))) if isinstance(node, ast.Name) else ""


def bound_names(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """Yield each name that one of these nodes binds."""
    for node in nodes:
        match node:
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                yield name
            case (
                ast.FunctionDef(name=name)
                | ast.AsyncFunctionDef(name=name)
                | ast.ClassDef(name=name)
            ):
                yield name
            case ast.arg(arg=name):
                yield name
            case ast.alias(name=name, asname=alias):
                yield alias or name.partition(".")[0]
            case ast.ExceptHandler(name=str(name)):
                yield name
            case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                yield name
            case ast.MatchMapping(rest=str(name)):
                yield name
            case ast.Global(names=names) | ast.Nonlocal(names=names):
                yield from names


def _assigned(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """Yield names with the values that a statement assigns."""
    match node:
        case ast.Assign(targets=targets, value=value):
            yield from ((each.id, value) for each in targets if isinstance(each, ast.Name))
        case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
            yield name, value


def _assigned_anywhere(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """Yield names, and attributes of ``self`` with a dot before, with their values."""
    match node:
        case ast.withitem(context_expr=value, optional_vars=ast.expr() as target):
            targets = [target]
        case ast.Assign(targets=targets, value=value):
            pass
        case (
            ast.AnnAssign(target=target, value=ast.expr() as value)
            | ast.NamedExpr(target=target, value=value)
        ):
            targets = [target]
        case _:
            return
    for target in targets:
        if (name := _target_name(target)) is not None:
            yield name, value


def _target_name(target: ast.expr) -> str | None:
    match target:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name):
            return f".{name}"
    return None


def _annotations(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    match node:
        case ast.arg(arg=name, annotation=ast.expr() as annotation):
            yield name, annotation
        case ast.AnnAssign(target=target, annotation=annotation):
            if (found := _target_name(target)) is not None:
                yield found, annotation
                yield f".{found.removeprefix('.')}", annotation  # a dataclass's field
