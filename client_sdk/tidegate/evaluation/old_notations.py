"""Values of comparisons that were stored before their notation was fixed.

A stored condition goes on meaning what it meant; a new one in such a notation is refused.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

_LEADING_ZEROS = r"(?<=[-.])0+(?=[0-9]+(?:[.+]|$))"


def in_present_notation(operator: str, value: object) -> object:
    """Return the value of a stored comparison in the notation that its operator reads now."""
    if not isinstance(value, str):
        return value
    if operator in ("before", "after"):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            return value
        if moment.tzinfo is not None:
            moment = moment.astimezone(UTC)
        return moment.isoformat()
    if operator.startswith("semver_"):
        return re.sub(_LEADING_ZEROS, "", value)
    return value
