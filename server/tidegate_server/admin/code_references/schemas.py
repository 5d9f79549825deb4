"""JSON schemas of code references."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from marshmallow import ValidationError, fields, post_load, validate, validates_schema

from tidegate_server.documents.fields import (
    BoundedList,
    BoundedString,
    Instant,
    Key,
    Moment,
    PatternString,
    StrictBoolean,
    StrictInteger,
    query_boolean,
)
from tidegate_server.documents.strict_schema import Strict
from tidegate_server.domain.code_references import (
    MAX_FLAGS,
    MAX_USES,
    CodeBranch,
    CodeUse,
    CodeUseKind,
    FlagUses,
    PushedReferences,
    url_template_problem,
)
from tidegate_server.web.document_schemas import page_schema
from tidegate_server.web.pagination import PageQuery, PageRequest

MEGABYTE = 1024 * 1024
MAX_COUNT = 1_000_000

# What a template, a terminal or a URL would read as something else is no part of a name.
_NAME = re.compile(r"[^\x00-\x20\x7f\"'<>\\`{}]{1,200}")
_COMMIT = re.compile(r"[0-9a-f]{7,64}")
# A source line may have any character but control characters.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def _name(description: str, **options: Any) -> PatternString:
    message = "A name has 1 to 200 characters, without spaces, quotes, braces and < > \\."
    return PatternString(_NAME, message, metadata={"description": description}, **options)


class UseBody(Strict):
    """A place that uses a flag."""

    path = BoundedString(1_000, min_length=1, required=True)
    line = StrictInteger(required=True, validate=validate.Range(min=1, max=10_000_000))
    kind = fields.Enum(CodeUseKind, by_value=True, required=True)
    source = BoundedString(
        4_000,
        refused=_CONTROL,
        load_default="",
        metadata={"description": "the lines of code, if they may leave the repository"},
    )

    @post_load
    def build(self, data: Mapping[str, Any], **_: Any) -> Any:
        """Return the use."""
        return CodeUse(**data)


class FlagUsesBody(Strict):
    """The uses of one flag."""

    flag = Key(required=True)
    total = StrictInteger(
        required=True,
        validate=validate.Range(min=0, max=MAX_COUNT),
        metadata={"description": "how many places use it, without those of tests"},
    )
    tests = StrictInteger(
        load_default=0,
        validate=validate.Range(min=0, max=MAX_COUNT),
        metadata={"description": "how many places set it for tests"},
    )
    uses = BoundedList(
        fields.Nested(UseBody),
        load_default=list,
        max_items=MAX_USES,
        metadata={"description": "the places; not all if there are many"},
    )

    @post_load
    def build(self, data: Mapping[str, Any], **_: Any) -> Any:
        """Return the uses."""
        return FlagUses(**{**data, "uses": tuple(data["uses"])})


class PushBody(Strict):
    """All uses of flags in one commit of a branch."""

    body_limit = 4 * MEGABYTE

    repository = _name("such as acme/shop", required=True)
    branch = _name("such as main", required=True)
    commit = PatternString(
        _COMMIT, "A commit is 7 to 64 digits and letters from a to f.", required=True
    )
    committed_at = Moment(
        attribute="committed_ms",
        required=True,
        metadata={
            "type": "string",
            "format": "date-time",
            "description": "when the commit was made; an earlier one does not replace a later one",
        },
    )
    is_default = StrictBoolean(
        load_default=False,
        metadata={"description": "whether the released code comes from this branch"},
    )
    url_template = BoundedString(
        1_000,
        load_default="",
        metadata={"description": "the URL of a line, with {commit}, {branch}, {path} and {line}"},
    )
    flags = BoundedList(fields.Nested(FlagUsesBody), required=True, max_items=MAX_FLAGS)
    force = StrictBoolean(
        load_default=False, metadata={"description": "true: replace a later commit, too"}
    )

    @validates_schema
    def check(self, data: Mapping[str, Any], **_: Any) -> None:
        """Check the template, and that the flags are different and their uses not too many."""
        if data.get("url_template") and (problem := url_template_problem(data["url_template"])):
            raise ValidationError(problem, "url_template")
        flags = data.get("flags", ())
        if len({each.flag for each in flags}) < len(flags):
            raise ValidationError("A flag is listed twice; list each once.", "flags")
        count = sum(len(each.uses) for each in flags)
        if count > MAX_USES:
            raise ValidationError(
                f"There are {count:,} uses; send at most {MAX_USES:,} and the rest as total.",
                "flags",
            )

    @post_load
    def build(self, data: dict[str, Any], **_: Any) -> Any:
        """Return the pushed references, and whether they replace a later commit."""
        force, flags = data.pop("force"), tuple(data.pop("flags"))
        return PushedReferences(CodeBranch(**data), flags), force


class BranchAnswer(Strict):
    """A branch whose uses of flags are known."""

    repository = fields.String(required=True)
    branch = fields.String(required=True)
    commit = fields.String(required=True)
    committed_at = Instant(attribute="committed_ms", required=True)
    is_default = StrictBoolean(required=True)
    url_template = fields.String(required=True)
    flags = StrictInteger(required=True, metadata={"description": "how many flags it uses"})
    uses = StrictInteger(
        required=True, metadata={"description": "how many places use a flag, without tests"}
    )
    pushed_at = Instant(attribute="pushed_ms", required=True)
    pushed_by = fields.String(required=True)
    expires_at = Instant(
        attribute="expires_ms",
        required=True,
        allow_none=True,
        metadata={"description": "null: a default branch is kept"},
    )


class PushAnswer(BranchAnswer):
    """The branch after a push."""

    kept = StrictBoolean(
        required=True,
        metadata={"description": "false: a later commit was there, which stays"},
    )


BranchPage = page_schema("CodeBranchPage", BranchAnswer)


class ForgetQuery(Strict):
    """What to forget."""

    repository = _name("the repository", required=True)
    branch = _name("only this branch; otherwise all of them", load_default=None)

    @post_load
    def build(self, data: Mapping[str, Any], **_: Any) -> Any:
        """Return repository and branch."""
        return data["repository"], data["branch"]


class UseAnswer(Strict):
    """A place that uses a flag."""

    path = fields.String(required=True)
    line = StrictInteger(required=True)
    kind = fields.Enum(CodeUseKind, by_value=True, required=True)
    source = fields.String(required=True)
    url = fields.String(required=True, allow_none=True)


class BranchUsesAnswer(Strict):
    """The uses of a flag in one branch."""

    repository = fields.String(required=True)
    branch = fields.String(required=True)
    commit = fields.String(required=True)
    is_default = StrictBoolean(required=True)
    total = StrictInteger(required=True)
    tests = StrictInteger(required=True)
    uses = fields.List(fields.Nested(UseAnswer), required=True)


class FlagInCodeAnswer(Strict):
    """How the default branches of the project's repositories use a flag."""

    flag = fields.String(required=True)
    exists = StrictBoolean(required=True, metadata={"description": "whether there is this flag"})
    uses = StrictInteger(
        required=True, metadata={"description": "how many places use it, without tests"}
    )
    tests = StrictInteger(
        required=True, metadata={"description": "how many places set it for tests"}
    )
    repositories = fields.List(fields.String(), required=True)
    gone_since = Instant(
        attribute="gone_ms",
        required=True,
        allow_none=True,
        metadata={
            "description": "since when no default branch uses it; null: one does, or none ever did"
        },
    )


class FlagUsesAnswer(FlagInCodeAnswer):
    """All that is known of a flag's uses."""

    branches = fields.List(fields.Nested(BranchUsesAnswer), required=True)


class FlagUsesQuery(Strict):
    """Which branches to show."""

    all_branches = query_boolean("true: all branches; otherwise the default ones")

    @post_load
    def build(self, data: Mapping[str, Any], **_: Any) -> Any:
        """Return whether to show all branches."""
        return data["all_branches"]


class FlagsInCodeQuery(PageQuery):
    """The query of the list of flags in the code."""

    state = fields.String(
        load_default="",
        validate=validate.OneOf(("", "used", "without_code", "unknown")),
        metadata={
            "description": "used: flags that code uses; without_code: flags that no code uses; "
            "unknown: keys that code asks for and that are no flags"
        },
    )

    @post_load
    def build(self, data: Mapping[str, Any], **_: Any) -> Any:
        """Return the page and the state."""
        return PageRequest(data["cursor"], data["limit"]), data["state"]


FlagInCodePage = page_schema(
    "FlagInCodePage",
    FlagInCodeAnswer,
    is_known=StrictBoolean(
        required=True,
        metadata={"description": "whether a repository's default branch was ever pushed"},
    ),
)
