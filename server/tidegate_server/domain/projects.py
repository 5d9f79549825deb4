"""Projects and their environments."""

from __future__ import annotations

import re
from dataclasses import dataclass

ANY_ORIGIN = "*"

RETIRING_MS = 24 * 60 * 60 * 1_000
"""How long the old context key is valid after a rotation, so that applications can switch."""

ORIGIN = re.compile(r"\*|[a-z][a-z0-9+.-]*://[^\s/?#@*A-Z]{1,253}")
"""An origin as browsers send it: scheme, host and port, without a path."""


@dataclass(frozen=True, slots=True)
class Project:
    """A namespace of flags."""

    key: str
    name: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True)
class Environment:
    """A place where a project's flags run: ``production``, ``staging``.

    Attributes:
        allowed_origins: the origins of the pages whose browsers may evaluate flags here; ``*``
            allows every page.
        context_key_id: the context key, with which applications sign targeting keys, is
            derived from this id and the server's secret key; the id alone is useless. None:
            there is no key.
        retiring_context_key_id: the id of the key before a rotation, which is valid until
            ``context_key_retires_ms``.
        require_reason: whether every change here needs a reason.
    """

    key: str
    name: str = ""
    description: str = ""
    allowed_origins: tuple[str, ...] = ()
    context_key_id: str | None = None
    retiring_context_key_id: str | None = None
    context_key_retires_ms: int = 0
    require_reason: bool = False

    @property
    def old_key_until_ms(self) -> int | None:
        """How long the context key before the present one is valid; None: there was none."""
        return None if self.retiring_context_key_id is None else self.context_key_retires_ms

    def context_key_ids(self, now_ms: int) -> tuple[str, ...]:
        """Return the ids of the context keys that are valid now."""
        retiring = self.retiring_context_key_id if now_ms < self.context_key_retires_ms else None
        return tuple(id for id in (self.context_key_id, retiring) if id is not None)
