"""The body of an action, such as a kill or a pause: why a person does it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from tidegate_server.documents.fields import BoundedString, Link
from tidegate_server.documents.strict_schema import DataclassSchema
from tidegate_server.web.reasons import MAX_REASON


@dataclass(frozen=True, slots=True)
class ActionRequest:
    """A person's reason for an action; ``stop`` makes a pause a full stop.

    ``url`` links to the incident that it is about; may be empty.
    """

    reason: str = ""
    stop: bool = False
    url: str = ""


class ActionBody(DataclassSchema):
    """The reason for an action; the body may be left out."""

    loads_into: ClassVar[type[Any]] = ActionRequest

    body_optional = True

    reason = BoundedString(MAX_REASON, load_default="")


class IncidentBody(ActionBody):
    """Why a person kills or restores, and a link to the incident."""

    url = Link(load_default="", metadata={"description": "a link to the incident"})
