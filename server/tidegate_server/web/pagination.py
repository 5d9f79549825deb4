"""Lists by pages: a cursor says where the next one begins, and means nothing else."""

from __future__ import annotations

import base64
import binascii
import re
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from marshmallow import ValidationError, fields, post_load, validate

from tidegate_server.documents.strict_schema import Strict
from tidegate_server.errors import FieldProblem, Invalid

DEFAULT_LIMIT = 100
LARGEST_LIMIT = 500

_PLACE = re.compile(r"[0-9]{1,20}-[0-9]{1,20}")

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class PageRequest:
    """Which page is asked for: up to ``limit`` items after ``after`` (empty: from the start)."""

    after: str
    limit: int


class Cursor(fields.Field[str]):
    """A place in a list, as an earlier page gave it."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> str:
        try:
            padded = str(value) + "=" * (-len(str(value)) % 4)
            return base64.b64decode(padded, altchars=b"-_", validate=True).decode()
        except (binascii.Error, ValueError):
            raise ValidationError(
                "This is no cursor that a page gave; leave it out to begin at the start."
            ) from None


def cursor(place: str | None) -> str | None:
    """A place in a list as the opaque text that goes out; None: there is no more."""
    if place is None:
        return None
    return base64.urlsafe_b64encode(place.encode()).decode().rstrip("=")


class PageQuery(Strict):
    """The query of a list."""

    cursor = Cursor(
        load_default="",
        metadata={"type": "string", "description": "next_cursor of the page before"},
    )
    limit = fields.Integer(
        load_default=DEFAULT_LIMIT,
        validate=validate.Range(min=1, max=LARGEST_LIMIT),
        metadata={"description": "how many items at most"},
    )

    @post_load
    def build(self, data: Mapping[str, Any], **_: Any) -> Any:
        """The page asked for."""
        return PageRequest(data["cursor"], data["limit"])


def page_of(found: Mapping[str, Item], asked: PageRequest) -> tuple[list[Item], str | None]:
    """One page of items in the order of their keys, and the cursor of the next."""
    keys = sorted(found)
    start = bisect_right(keys, asked.after) if asked.after else 0
    chosen = keys[start : start + asked.limit]
    more = start + asked.limit < len(keys)
    return [found[key] for key in chosen], cursor(chosen[-1]) if more else None


def place_in_stream(asked: PageRequest) -> str | None:
    """The place where a page of a log begins; None: at the latest entry.

    Raises:
        Invalid: the cursor is of another list.
    """
    if not asked.after:
        return None
    if _PLACE.fullmatch(asked.after) is None:
        message = "This cursor is of another list; leave it out to begin at the start."
        raise Invalid(message, FieldProblem("/cursor", message))
    return asked.after
