"""The base schemas of every document: unknown fields are refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from marshmallow import RAISE, Schema, ValidationError, post_load

from tidegate_server.documents.suggesting import Suggesting
from tidegate_server.domain.field_problems import MAX_COMPARED_PROBLEMS
from tidegate_server.near_misses import similar

UNKNOWN = "There is no such field; leave it out."
SET_BY_SERVER = "The server sets this field; leave it out."


KIBIBYTE = 1024
BODY_LIMIT = 64 * KIBIBYTE
LARGE_BODY_LIMIT = 1024 * KIBIBYTE


class Strict(Schema):
    """A schema that refuses unknown fields.

    ``body_limit``: the largest request body with such a document, in bytes.
    """

    body_limit: ClassVar[int] = BODY_LIMIT

    class Meta:
        """marshmallow's options."""

        unknown = RAISE

    error_messages = {  # noqa: RUF012 - marshmallow declares it for instances
        "unknown": UNKNOWN,
        "type": "This must be an object.",
    }

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Return itself: nothing changes a schema, and descriptions of routes are often copied."""
        return self

    def handle_error(self, error: ValidationError, data: Any, **kwargs: Any) -> None:
        """Say that the server sets a field, where it is one that responses have."""
        compared = 0
        if isinstance(error.messages, dict):
            for name, messages in error.messages.items():
                if messages != [UNKNOWN]:
                    continue
                if name in self.dump_fields:
                    error.messages[name] = [SET_BY_SERVER]
                elif compared < MAX_COMPARED_PROBLEMS:
                    compared += 1
                    names = [field.data_key or key for key, field in self.load_fields.items()]
                    error.messages[name] = [Suggesting(UNKNOWN, similar(str(name), names))]


class DataclassSchema(Strict):
    """A schema that loads into the dataclass ``loads_into``; lists become tuples."""

    loads_into: ClassVar[type[Any]]

    @post_load
    def build(self, data: Mapping[str, Any], **_: Any) -> Any:
        """Return the dataclass."""
        return self.loads_into(
            **{
                name: tuple(value) if isinstance(value, list) else value
                for name, value in data.items()
            }
        )
