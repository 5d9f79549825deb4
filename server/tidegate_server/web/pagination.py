"""Pages of lists, and the opaque cursors between them."""

from __future__ import annotations

import base64
import binascii
import re
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Generic, TypeVar

from marshmallow import ValidationError, fields, post_load, validate

from tidegate_server.documents.strict_schema import Strict
from tidegate_server.errors import FieldProblem, Invalid

DEFAULT_LIMIT = 100
LARGEST_LIMIT = 500

_LOG_POSITION = re.compile(r"[0-9]{1,20}-[0-9]{1,20}")

Item = TypeVar("Item")
State = TypeVar("State", bound=Enum)


@dataclass(frozen=True, slots=True)
class PageRequest:
    """A request for up to ``limit`` items after the key ``after`` (empty: from the start)."""

    after: str
    limit: int


class Cursor(fields.Field[str]):
    """The ``next_cursor`` of an earlier page."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> str:
        try:
            padded = str(value) + "=" * (-len(str(value)) % 4)
            return base64.b64decode(padded, altchars=b"-_", validate=True).decode()
        except (binascii.Error, ValueError):
            raise ValidationError(
                "This is not the next_cursor of a page; leave it out to begin at the start."
            ) from None


def encode_cursor(position: str | None) -> str | None:
    """Return the opaque cursor of a position in a list; None: there is no next page."""
    if position is None:
        return None
    return base64.urlsafe_b64encode(position.encode()).decode().rstrip("=")


class PageQuery(Strict):
    """The query of a list."""

    cursor = Cursor(
        load_default="",
        metadata={"type": "string", "description": "next_cursor of the previous page"},
    )
    limit = fields.Integer(
        load_default=DEFAULT_LIMIT,
        validate=validate.Range(min=1, max=LARGEST_LIMIT),
        metadata={"description": "maximum number of items"},
    )

    @post_load
    def build(self, data: Mapping[str, Any], **_: Any) -> Any:
        """Return the page request."""
        return PageRequest(data["cursor"], data["limit"])


@dataclass(frozen=True, slots=True)
class StatePageRequest(Generic[State]):
    """A request for a page of what is in a state; None: in any."""

    page: PageRequest
    state: State | None


def state_field(states: type[State]) -> fields.Enum[State]:
    """Return the field ``state`` of a ``StatePageQuery``."""
    return fields.Enum(
        states,
        by_value=True,
        load_default=None,
        metadata={"description": "only those in this state"},
    )


class StatePageQuery(PageQuery):
    """The query of a list of what is in a state. Its subclasses have the field ``state``."""

    @post_load
    def build(self, data: Mapping[str, Any], **_: Any) -> Any:
        """Return the request."""
        return StatePageRequest(PageRequest(data["cursor"], data["limit"]), data["state"])


def paginate(items: Mapping[str, Item], page: PageRequest) -> tuple[list[Item], str | None]:
    """Return one page of items in the order of their keys, and the next page's cursor."""
    keys = sorted(items)
    start = bisect_right(keys, page.after) if page.after else 0
    chosen = keys[start : start + page.limit]
    more = start + page.limit < len(keys)
    return [items[key] for key in chosen], encode_cursor(chosen[-1]) if more else None


def log_position(page: PageRequest) -> str | None:
    """Return the position in a log at which a page begins; None: at the latest entry.

    Raises:
        Invalid: the cursor belongs to another list.
    """
    if not page.after:
        return None
    if _LOG_POSITION.fullmatch(page.after) is None:
        message = "This cursor belongs to another list; leave it out to begin at the start."
        raise Invalid(message, FieldProblem("/cursor", message))
    return page.after
