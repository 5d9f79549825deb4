"""The body of an action, such as a kill or a pause: why a person does it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from marshmallow import post_load

from tidegate_server.documents.fields import BoundedString
from tidegate_server.documents.strict_schema import Strict

LONGEST_REASON = 1_000


@dataclass(frozen=True, slots=True)
class ActionRequest:
    """A person's reason for an action; ``stop`` makes a pause a full stop."""

    reason: str = ""
    stop: bool = False


class ActionBody(Strict):
    """The reason for an action; the body may be left out."""

    body_optional = True

    reason = BoundedString(LONGEST_REASON, load_default="")

    @post_load
    def build(self, data: Mapping[str, Any], **_: Any) -> Any:
        """Return the reason."""
        return ActionRequest(**data)
