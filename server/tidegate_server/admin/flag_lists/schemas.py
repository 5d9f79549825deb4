"""JSON schemas of lists of flags."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from marshmallow import ValidationError, fields, post_dump, post_load, validate

from tidegate_server.admin.flags.schemas import FlagAnswer
from tidegate_server.admin.releases.schemas import ReleaseAnswer
from tidegate_server.admin.releases.service import ReleaseWithProgress
from tidegate_server.admin.targeting.schemas import TargetingAnswer
from tidegate_server.admin.targeting.service import TargetingWithReceipt
from tidegate_server.documents.fields import BoundedString, StrictInteger, query_boolean
from tidegate_server.documents.strict_schema import Strict
from tidegate_server.domain.change import Stored
from tidegate_server.domain.flag_list import FlagFilter, FlagState, Order, SortBy, search_words
from tidegate_server.domain.release import LIVE_STATES, State
from tidegate_server.web.document_schemas import page_schema
from tidegate_server.web.pagination import PageQuery, PageRequest

ANY, NONE = "any", "none"
RELEASE_CHOICES = (ANY, NONE, *sorted(LIVE_STATES))
ORDERS = tuple(sign + by for by in SortBy for sign in ("", "-"))
EXPANSIONS = ("flag", "release")


@dataclass(frozen=True, slots=True)
class FlagListRequest:
    """A request for a page of a list of flags.

    ``expand``: what each flag of the page is shown with, of ``EXPANSIONS``. ``stale``: only stale
    flags, which their documents alone do not tell.
    """

    page: PageRequest
    filter: FlagFilter
    order: Order
    expand: frozenset[str] = frozenset()
    stale: bool = False


class FlagListQuery(PageQuery):
    """The query of a list of a project's flags."""

    archived = query_boolean("true: the archived flags; otherwise only the others")
    q = BoundedString(
        200,
        metadata={
            "description": "only flags with each of these words in their key, name, description, "
            "owner or tags; the case does not matter"
        },
    )
    owner = BoundedString(200, metadata={"description": "only flags of this owner"})
    tag = BoundedString(100, metadata={"description": "only flags with this tag"})
    stale = query_boolean(
        "true: only flags that are stale; the totals by state then count the others too"
    )
    sort = fields.String(
        load_default=SortBy.KEY.value,
        validate=validate.OneOf(ORDERS, error=f"Sort by one of: {', '.join(ORDERS)}."),
        metadata={"description": "the order; with `-` before it, the other way round"},
    )

    @post_load
    def build(self, data: Mapping[str, Any], **_: Any) -> Any:
        """Return the request."""
        release = data.get("release")
        sort: str = data["sort"]
        return FlagListRequest(
            PageRequest(data["cursor"], data["limit"]),
            FlagFilter(
                archived=data["archived"],
                words=search_words(data.get("q", "")),
                owner=data.get("owner"),
                tag=data.get("tag"),
                state=data.get("state"),
                releasing=None if release is None else release != NONE,
                release_state=None if release in (None, ANY, NONE) else State(release),
            ),
            Order(SortBy(sort.removeprefix("-")), sort.startswith("-")),
            data.get("expand", frozenset()),
            data["stale"],
        )


class Expansions(fields.String):
    """A comma-separated list of ``EXPANSIONS``."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        names = frozenset(super()._deserialize(value, *args, **kwargs).split(","))
        if not names.issubset(EXPANSIONS):
            raise ValidationError(f"Expand {' or '.join(EXPANSIONS)}, or both with a comma.")
        return names


class EnvironmentFlagListQuery(FlagListQuery):
    """The query of a list of what flags serve in an environment."""

    state = fields.Enum(
        FlagState,
        by_value=True,
        metadata={"description": "only flags in this state; `releasing` has an active release"},
    )
    release = fields.String(
        validate=validate.OneOf(RELEASE_CHOICES),
        metadata={
            "description": "only flags with an active release (`any`), in this state, or `none`"
        },
    )
    expand = Expansions(
        metadata={
            "description": "what to show with each flag: its definition (`flag`), its active "
            "release (`release`), or both (`flag,release`)"
        }
    )


@dataclass(frozen=True, slots=True)
class ListedTargeting(TargetingWithReceipt):
    """A targeting with what the request expands; ``definition`` and ``active_release``."""

    definition: Stored | None = None
    active_release: ReleaseWithProgress | None = None
    expand: frozenset[str] = frozenset()


class ListedTargetingAnswer(TargetingAnswer):
    """What a flag serves in an environment, as a list shows it."""

    definition = fields.Nested(
        FlagAnswer, dump_only=True, metadata={"description": "with `expand=flag`"}
    )
    active_release = fields.Nested(
        ReleaseAnswer,
        dump_only=True,
        allow_none=True,
        metadata={"description": "with `expand=release`; null: there is none"},
    )

    @post_dump(pass_original=True)
    def omit_what_is_not_expanded(
        self, data: dict[str, Any], original: ListedTargeting, **_: Any
    ) -> dict[str, Any]:
        """Leave out what the request does not ask for."""
        if "flag" not in original.expand:
            data.pop("definition", None)
        if "release" not in original.expand:
            data.pop("active_release", None)
        return data


class TotalsSchema(Strict):
    """How many flags meet every condition but that of the state, in each state."""

    all = StrictInteger(required=True)
    killed = StrictInteger(required=True)
    disabled = StrictInteger(required=True)
    releasing = StrictInteger(required=True)
    enabled = StrictInteger(required=True)


_TOTAL = StrictInteger(
    required=True, metadata={"description": "how many flags all pages have together"}
)

FlagPage = page_schema("FlagPage", FlagAnswer, total=_TOTAL)

TargetingPage = page_schema(
    "TargetingPage",
    ListedTargetingAnswer,
    total=_TOTAL,
    totals=fields.Nested(TotalsSchema, required=True),
)
