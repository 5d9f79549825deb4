"""The body of an action, such as a kill or a pause: why a person does it."""

from __future__ import annotations

from dataclasses import dataclass

from tidegate_server.documents.fields import BoundedString
from tidegate_server.documents.strict_schema import DataclassSchema
from tidegate_server.web.reasons import MAX_REASON


@dataclass(frozen=True, slots=True)
class ActionRequest:
    """A person's reason for an action; ``stop`` makes a pause a full stop."""

    reason: str = ""
    stop: bool = False


class ActionBody(DataclassSchema):
    """The reason for an action; the body may be left out."""

    loads_into = ActionRequest

    body_optional = True

    reason = BoundedString(MAX_REASON, load_default="")
