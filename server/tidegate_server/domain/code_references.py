"""Where source code uses flags, as pushed for the latest commit of each branch of a repository."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import quote

from tidegate_server.domain.calendar import DAY_MS

BRANCH_LIFE_MS = 30 * DAY_MS
"""How long a branch that nobody pushes is kept; a default branch is kept for good."""

MAX_FLAGS = 10_000
MAX_USES = 10_000
"""The most flags, and the most places of all flags together, of one branch."""

MAX_BRANCHES = 100
"""The most branches of all repositories of a project."""

_PLACEHOLDERS = frozenset({"commit", "branch", "path", "line"})
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


class CodeUseKind(StrEnum):
    """How a place in the source uses a flag."""

    CALL = "call"
    """It evaluates the flag."""

    TEST = "test"
    """It sets the flag for a test, with ``tidegate.testing`` or the pytest plugin."""

    TEXT = "text"
    """It has the key in quotes, for a purpose that the scan does not know."""

    ALIAS = "alias"
    """It has an identifier made of the key, such as ``newCheckout``."""


@dataclass(frozen=True, slots=True)
class CodeUse:
    """A place that uses a flag; ``source`` is empty unless lines of code were pushed."""

    path: str
    line: int
    kind: CodeUseKind
    source: str = ""


@dataclass(frozen=True, slots=True)
class FlagUses:
    """The uses of one flag in a branch.

    Attributes:
        flag: the key, of a flag that there may not be.
        total: how many places use it, without those of tests.
        tests: how many places set it for tests.
        uses: the places; not all if there are many.
    """

    flag: str
    total: int
    tests: int = 0
    uses: tuple[CodeUse, ...] = ()


@dataclass(frozen=True, slots=True)
class CodeBranch:
    """A branch of a repository at one commit.

    Attributes:
        repository, branch, commit: their names.
        committed_ms: when the commit was made.
        is_default: whether this is the branch that the repository's released code comes from.
        url_template: the URL of a line, with ``{commit}``, ``{branch}``, ``{path}``, ``{line}``;
            empty: there is none.
        flags, uses: how many there are, without those of tests only.
        pushed_ms, pushed_by: when the server got it (store clock), and from whom.
    """

    repository: str
    branch: str
    commit: str
    committed_ms: int
    is_default: bool
    url_template: str = ""
    flags: int = 0
    uses: int = 0
    pushed_ms: int = 0
    pushed_by: str = ""

    @property
    def expires_ms(self) -> int | None:
        """When it is forgotten unless it is pushed again; None: never."""
        return None if self.is_default else self.pushed_ms + BRANCH_LIFE_MS

    def url(self, use: CodeUse) -> str | None:
        """Return the address of a use; None: the repository has no template."""
        if not self.url_template:
            return None
        values = {
            "commit": self.commit,
            "branch": self.branch,
            "path": use.path,
            "line": str(use.line),
        }
        return _PLACEHOLDER.sub(lambda part: quote(values[part[1]]), self.url_template)


@dataclass(frozen=True, slots=True)
class PushedReferences:
    """All uses in one branch, as a scan of a commit found them."""

    branch: CodeBranch
    flags: tuple[FlagUses, ...]


@dataclass(frozen=True, slots=True)
class FlagInCode:
    """How the default branches of a project's repositories use one flag.

    Attributes:
        uses: how many places use it, without those of tests.
        tests: how many places set it for tests.
        repositories: those with a use, in order.
        gone_ms: since when no default branch uses it; None: one does, or none ever did.
    """

    uses: int = 0
    tests: int = 0
    repositories: tuple[str, ...] = ()
    gone_ms: int | None = None


@dataclass(frozen=True, slots=True)
class ProjectCode:
    """What is known of a project's code.

    Attributes:
        is_known: whether the default branch of a repository was ever pushed. If not, nothing
            follows from a flag that is missing here.
        flags: by key, those that are used, set by tests, or were used before.
    """

    is_known: bool
    flags: Mapping[str, FlagInCode]

    def of(self, flag: str) -> FlagInCode:
        """Return how the code uses a flag."""
        return self.flags.get(flag, FlagInCode())


def url_template_problem(template: str) -> str | None:
    """Return what is wrong with the template of a URL; None: nothing."""
    if not re.match(r"https?://[^/\s{}]+/", template):
        return "A URL begins with https:// or http:// and the name of a host."
    for name in _PLACEHOLDER.findall(template):
        if name not in _PLACEHOLDERS:
            return f"There is no {{{name}}}; use {{commit}}, {{branch}}, {{path}} and {{line}}."
    return None if "{path}" in template else "The URL of a file needs {path}."
