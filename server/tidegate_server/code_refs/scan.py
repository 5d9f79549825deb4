"""A scan of a source tree: Python by its syntax trees, everything else as text."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterator

from tidegate_server.code_refs.python_calls import CALL_HINT, TEST_HINT, flag_calls, test_settings
from tidegate_server.code_refs.python_modules import PythonModule, PythonTree, parse
from tidegate_server.code_refs.settings import ScanSettings
from tidegate_server.code_refs.source_files import SourceTree
from tidegate_server.code_refs.text_uses import EXTENSIONS, LOCK_FILES, TextSearch
from tidegate_server.code_refs.uses import Place, ScanResult, Use
from tidegate_server.domain.code_references import CodeUseKind

MAX_USES = 50_000
COMPUTED = "The key is computed when the program runs."


class Scan:
    """One scan of a source tree.

    Args:
        tree: what to search.
        keys: of the known flags. Without them, only calls of an SDK are found.
        settings: what else to look for.
        context_lines: how many lines around each use to keep; None: not even its own line.

    Attributes:
        python: the Python modules of the tree that are searched.
    """

    def __init__(
        self,
        tree: SourceTree,
        keys: Collection[str] = (),
        settings: ScanSettings | None = None,
        context_lines: int | None = 0,
    ) -> None:
        self._tree = tree
        self._settings = settings or ScanSettings()
        self._context_lines = context_lines
        self._search = TextSearch(keys, self._settings.aliases)
        extensions = EXTENSIONS | set(self._settings.extensions)
        self._paths = [
            path
            for path in tree.paths()
            if not self._settings.excludes(path)
            and path.rpartition(".")[2].lower() in extensions
            and path.rpartition("/")[2] not in LOCK_FILES
        ]
        python_paths = frozenset(path for path in self._paths if path.endswith(".py"))
        self.python = PythonTree(python_paths, tree.read)
        wrappers = [each.function.rpartition(".")[2] for each in self._settings.wrappers]
        self._wrapper_hint = (
            re.compile(rf"\b(?:{'|'.join(wrappers)})\s*\(".encode()) if wrappers else None
        )
        self._uses: list[Use] = []
        self._computed: list[Place] = []
        self._unreadable: list[Place] = []

    def run(self) -> ScanResult:
        """Return what the scan finds."""
        files = 0
        for path in self._paths:
            content = self._tree.read(path)
            if content is None:
                continue
            files += 1
            self._search_file(path, content)
            if len(self._uses) > MAX_USES:
                self._tree.warnings.append(
                    f"The scan stopped after {MAX_USES:,} uses, in {path}. Leave folders out with "
                    "`exclude` in the settings."
                )
                del self._uses[MAX_USES:]
                break
        self._uses.sort(key=lambda use: (use.path, use.line, use.flag))
        return ScanResult(
            tuple(self._uses),
            tuple(self._computed),
            tuple(self._unreadable),
            files,
            self._tree.large,
            self._tree.binary,
            tuple(self._tree.warnings),
        )

    def _search_file(self, path: str, content: bytes) -> None:
        text = content.decode("utf-8", "replace")
        found = sorted(self._uses_in(path, content, text), key=lambda each: (each[2], each[0]))
        if not found:
            return
        lines = text.split("\n") if self._context_lines is not None else []
        for key, kind, line, certain in found:
            source = self._excerpt(lines, line)
            self._uses.append(Use(key, path, line, kind, certain, source))

    def _uses_in(
        self, path: str, content: bytes, text: str
    ) -> Iterator[tuple[str, CodeUseKind, int, bool]]:
        if path.endswith(".py"):
            if not self._may_call(content) and not self._search.mentions(text):
                return iter(())
            try:
                return self._uses_in_python(self.python.add(path, parse(content)))
            except (SyntaxError, ValueError) as error:
                line = getattr(error, "lineno", None) or 1
                self._unreadable.append(Place(path, line, f"This is not valid Python: {error}"))
        return ((key, kind, line, True) for key, kind, line in self._search.uses(text))

    def _may_call(self, content: bytes) -> bool:
        return (
            CALL_HINT.search(content) is not None
            or TEST_HINT.search(content) is not None
            or (self._wrapper_hint is not None and self._wrapper_hint.search(content) is not None)
        )

    def _uses_in_python(self, module: PythonModule) -> Iterator[tuple[str, CodeUseKind, int, bool]]:
        found: dict[tuple[str, int], tuple[CodeUseKind, bool]] = {}
        for call in flag_calls(module, self.python, self._settings.wrappers):
            if call.key is not None:
                found[call.key, call.node.lineno] = (CodeUseKind.CALL, call.certain)
            elif call.certain:
                self._computed.append(Place(module.path, call.node.lineno, COMPUTED))
        for name, line in test_settings(module, self.python):
            if (key := self._search.find(name)) is not None:
                found.setdefault((key, line), (CodeUseKind.TEST, True))
        on_calls = {(key, at) for key, at in found}
        for node in module.nodes:
            for key, kind, line in self._mentions(node):
                if not any((key, at) in on_calls for at in range(line - 1, line + 1)):
                    found.setdefault((key, line), (kind, True))
        for (key, line), (kind, certain) in found.items():
            yield key, kind, line, certain

    def _mentions(self, node: ast.AST) -> Iterator[tuple[str, CodeUseKind, int]]:
        match node:
            case ast.Constant(value=str(text)) if self._search.knows(text):
                yield text, CodeUseKind.TEXT, node.lineno
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name):
                if (key := self._search.key_of_alias(name)) is not None:
                    line = getattr(node, "end_lineno", None) or 1
                    yield key, CodeUseKind.ALIAS, line

    def _excerpt(self, lines: list[str], line: int) -> str:
        if self._context_lines is None:
            return ""
        first, end = max(0, line - 1 - self._context_lines), line + self._context_lines
        return "\n".join(each.rstrip("\r") for each in lines[first:end])
