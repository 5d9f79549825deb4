"""What a scan of a source tree finds."""

from __future__ import annotations

from dataclasses import dataclass

from tidegate_server.domain.code_references import CodeUseKind


@dataclass(frozen=True, slots=True)
class Use:
    """One place that uses a flag.

    Attributes:
        flag: the key.
        path: the file, relative to the scanned folder, with ``/`` between its parts.
        line: counted from 1.
        kind: how it uses the flag.
        certain: whether the place asks for this key beyond doubt; a call of an unknown object's
            method that only looks like the SDK's is not certain.
        source: the line, and the lines around it that were asked for.
    """

    flag: str
    path: str
    line: int
    kind: CodeUseKind
    certain: bool = True
    source: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the source, and what there is to say about it."""

    path: str
    line: int
    message: str


@dataclass(frozen=True, slots=True)
class ScanResult:
    """What a scan found.

    Attributes:
        uses: by path, line and key.
        computed: calls whose key is computed when the program runs, so that no scan can know it.
        unreadable: Python files that are not valid for this version of Python; they were searched
            as text.
        files: how many files were searched.
        skipped_large, skipped_binary: how many files were not.
        warnings: what limits the result.
    """

    uses: tuple[Use, ...]
    computed: tuple[Place, ...]
    unreadable: tuple[Place, ...]
    files: int
    skipped_large: int
    skipped_binary: int
    warnings: tuple[str, ...]
