"""The schema that all others are: nothing unknown passes, and every refusal names a mend."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from marshmallow import RAISE, Schema, ValidationError

UNKNOWN = "There is no such field here; leave it out."
SET_BY_SERVER = "The server sets this field; leave it out."


class Strict(Schema):
    """A schema that refuses unknown fields.

    ``not_offered`` names fields that the format knows and this version does not do, each
    with the words that say so: accepting and ignoring one would be a promise not kept.
    """

    class Meta:
        """Options of marshmallow's."""

        unknown = RAISE

    error_messages = {  # noqa: RUF012 - marshmallow declares it for instances
        "unknown": UNKNOWN,
        "type": "An object with named fields is expected here.",
    }
    not_offered: ClassVar[Mapping[str, str]] = {}

    def handle_error(self, error: ValidationError, data: Any, **kwargs: Any) -> None:
        """Say more than «unknown» of names that are known after all."""
        messages = error.messages
        if not isinstance(messages, dict):
            return
        for name, found in messages.items():
            if found != [UNKNOWN]:
                continue
            if name in self.not_offered:
                messages[name] = [self.not_offered[name]]
            elif name in self.dump_fields:
                messages[name] = [SET_BY_SERVER]
