"""Where source code uses flags: kept apart from the configuration, which it never changes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, replace

from tidegate_server.domain.code_references import (
    MAX_BRANCHES,
    MAX_FLAGS,
    CodeBranch,
    CodeUse,
    CodeUseKind,
    FlagInCode,
    FlagUses,
    ProjectCode,
    PushedReferences,
)
from tidegate_server.errors import NotPossible
from tidegate_server.store import keys
from tidegate_server.store.connection import Command, Connection


class CodeReferences:
    """The code references of every project.

    A push replaces all of a branch at once. Of two pushes of one branch at the same moment the
    later one counts.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def branches(self, project: str, now_ms: int) -> list[CodeBranch]:
        """Return the branches that have not expired, by repository and name."""
        found = self._all(project)
        kept = [each for each in found if each.expires_ms is None or each.expires_ms > now_ms]
        return sorted(kept, key=lambda each: (each.repository, each.branch))

    def put(
        self, project: str, pushed: PushedReferences, now_ms: int, by: str, *, force: bool
    ) -> tuple[CodeBranch, bool]:
        """Keep what was pushed, unless a later commit of the branch is there already.

        Args:
            project: the key.
            pushed: the uses.
            now_ms: the store's time.
            by: who pushes.
            force: replace a later commit, too.

        Returns:
            The branch as it is now, and whether it is the pushed one.

        Raises:
            NotPossible: the project has too many branches.
        """
        wanted = pushed.branch
        id = _id(wanted)
        others = self._all(project)
        present = next((each for each in others if _id(each) == id), None)
        if present is not None and wanted.committed_ms < present.committed_ms and not force:
            return present, False
        used = [each for each in pushed.flags if each.total]
        branch = replace(
            wanted,
            flags=len(used),
            uses=sum(each.total for each in used),
            pushed_ms=now_ms,
            pushed_by=by,
        )
        expired = [
            each
            for each in others
            if each.expires_ms is not None and each.expires_ms <= now_ms and _id(each) != id
        ]
        if len(others) - len(expired) - (present is not None) >= MAX_BRANCHES:
            raise NotPossible(
                f"The project has references of {MAX_BRANCHES} branches, the most that are kept. "
                "Forget some: tidegate code-refs forget REPOSITORY --branch NAME."
            )
        commands = [command for each in expired for command in _forget(project, _id(each))]
        commands += self._replace(project, branch, pushed.flags, used, now_ms)
        if branch.is_default:
            commands += [
                _put_branch(project, replace(each, is_default=False))
                for each in others
                if each.repository == branch.repository and each.is_default and _id(each) != id
            ]
        self._connection.write_many(commands)
        return branch, True

    def forget(self, project: str, repository: str, branch: str | None) -> int:
        """Forget a branch, or all of a repository; returns how many branches that were."""
        gone = [
            each
            for each in self._all(project)
            if each.repository == repository and branch in (None, each.branch)
        ]
        commands = [command for each in gone for command in _forget(project, _id(each))]
        if commands:
            self._connection.write_many(commands)
        return len(gone)

    def of_flag(
        self, project: str, flag: str, branches: Sequence[CodeBranch]
    ) -> list[tuple[CodeBranch, FlagUses]]:
        """Return the uses of a flag in each of these branches that has some."""
        values = self._connection.read_many(
            [("HGET", keys.code_uses(project, _id(each)), flag) for each in branches]
        )
        return [
            (branch, _decode_uses(flag, value))
            for branch, value in zip(branches, values, strict=True)
            if value is not None
        ]

    def project_code(
        self,
        project: str,
        branches: Sequence[CodeBranch],
        wanted: Collection[str] | None = None,
    ) -> ProjectCode:
        """Return how the default branches among these use each flag.

        Args:
            project: the key.
            branches: some or all of its branches.
            wanted: only these flags; None: all.
        """
        branches = [each for each in branches if each.is_default]
        replies = self._fields(
            [
                key_of(project, _id(each))
                for each in branches
                for key_of in (keys.code_counts, keys.code_gone)
            ],
            wanted,
        )
        flags: dict[str, FlagInCode] = {}
        gone: dict[str, int] = {}
        for number, branch in enumerate(branches):
            counts, went = replies[2 * number : 2 * number + 2]
            for name, when in went.items():
                gone[name.decode()] = max(gone.get(name.decode(), 0), int(when))
            for name, text in counts.items():
                total, tests = map(int, text.split())
                before = flags.get(name.decode(), FlagInCode())
                repositories = (*before.repositories, branch.repository)
                flags[name.decode()] = FlagInCode(
                    before.uses + total,
                    before.tests + tests,
                    repositories if total else before.repositories,
                )
        for key, at_ms in gone.items():
            seen = flags.get(key, FlagInCode())
            if not seen.uses:
                flags[key] = replace(seen, gone_ms=at_ms)
        return ProjectCode(bool(branches), flags)

    def _fields(
        self, names: Sequence[str], wanted: Collection[str] | None
    ) -> list[dict[bytes, bytes]]:
        """Return the wanted fields of several hashes, or all fields."""
        if wanted is None:
            return self._connection.read_many([("HGETALL", name) for name in names])
        fields = sorted(wanted)
        if not fields or not names:
            return [{} for _ in names]
        found = self._connection.read_many([("HMGET", name, *fields) for name in names])
        return [
            {
                field.encode(): value
                for field, value in zip(fields, values, strict=True)
                if value is not None
            }
            for values in found
        ]

    def _all(self, project: str) -> list[CodeBranch]:
        values = self._connection.read("HVALS", keys.code_branches(project))
        return [CodeBranch(**json.loads(value)) for value in values]

    def _replace(
        self,
        project: str,
        branch: CodeBranch,
        flags: Sequence[FlagUses],
        used: Sequence[FlagUses],
        now_ms: int,
    ) -> list[Command]:
        id = _id(branch)
        uses, counts, gone = (
            name(project, id) for name in (keys.code_uses, keys.code_counts, keys.code_gone)
        )
        before, went = self._connection.read_many([("HGETALL", counts), ("HGETALL", gone)])
        now_used = {each.flag for each in used}
        gone_ms = {key.decode(): int(at_ms) for key, at_ms in went.items()}
        for key, text in before.items():
            if not text.startswith(b"0 "):
                gone_ms.setdefault(key.decode(), now_ms)
        lost = sorted((at_ms, key) for key, at_ms in gone_ms.items() if key not in now_used)
        lost = lost[-MAX_FLAGS:]
        commands: list[Command] = [
            ("DEL", uses, counts, gone),
            _put_branch(project, branch),
        ]
        if flags:
            commands += [
                ("HSET", uses, *_pairs((each.flag, _encode_uses(each)) for each in flags)),
                (
                    "HSET",
                    counts,
                    *_pairs((each.flag, f"{each.total} {each.tests}") for each in flags),
                ),
            ]
        if lost:
            commands.append(("HSET", gone, *_pairs((key, str(at_ms)) for at_ms, key in lost)))
        return commands


def _id(branch: CodeBranch) -> str:
    name = f"{branch.repository}\0{branch.branch}".encode()
    return hashlib.sha256(name).hexdigest()[:32]


def _put_branch(project: str, branch: CodeBranch) -> Command:
    return ("HSET", keys.code_branches(project), _id(branch), json.dumps(asdict(branch)))


def _forget(project: str, id: str) -> list[Command]:
    return [
        ("HDEL", keys.code_branches(project), id),
        ("DEL", keys.code_uses(project, id)),
        ("DEL", keys.code_counts(project, id)),
        ("DEL", keys.code_gone(project, id)),
    ]


def _pairs(items: Iterable[tuple[str, str]]) -> list[str]:
    return [part for pair in items for part in pair]


def _encode_uses(flag: FlagUses) -> str:
    places = [[each.path, each.line, each.kind.value, each.source] for each in flag.uses]
    return json.dumps([flag.total, flag.tests, places], separators=(",", ":"))


def _decode_uses(flag: str, value: bytes) -> FlagUses:
    total, tests, places = json.loads(value)
    return FlagUses(flag, total, tests, tuple(_decode_use(*place) for place in places))


def _decode_use(path: str, line: int, kind: str, source: str) -> CodeUse:
    return CodeUse(path, line, CodeUseKind(kind), source)
