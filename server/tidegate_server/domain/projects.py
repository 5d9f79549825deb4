"""Projects and their environments."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tidegate_server.domain.calendar import Closure, closed_now
from tidegate_server.domain.release_gates import Freeze, Windows

ANY_ORIGIN = "*"

RETIRING_MS = 24 * 60 * 60 * 1_000
"""How long the old context key is valid after a rotation, so that applications can switch."""

ORIGIN = re.compile(r"\*|[a-z][a-z0-9+.-]*://[^\s/?#@*A-Z]{1,253}")
"""An origin as browsers send it: scheme, host and port, without a path."""


@dataclass(frozen=True, slots=True)
class Project:
    """A namespace of flags.

    Attributes:
        deletable_after_days: how many days no application may have asked for an archived flag
            before it can be deleted without force.
        stale_after_days: after how many days a flag that does nothing new is stale.
    """

    key: str
    name: str = ""
    description: str = ""
    deletable_after_days: int = 7
    stale_after_days: int = 30


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
        required_approvals: how many people must approve a change of what is served here, or of
            who may change it; 0: none. An environment that requires any is protected.
        freezes: when no release opens further here and no scheduled change runs.
        timezone: of the bounds of freezes that have no offset.
        report_seen_users: whether SDKs report a sample of recently seen users.
    """

    key: str
    name: str = ""
    description: str = ""
    allowed_origins: tuple[str, ...] = ()
    context_key_id: str | None = None
    retiring_context_key_id: str | None = None
    context_key_retires_ms: int = 0
    require_reason: bool = False
    required_approvals: int = 0
    freezes: tuple[Freeze, ...] = ()
    timezone: str = "UTC"
    report_seen_users: bool = True

    def freeze_at(self, now_ms: int) -> Closure | None:
        """Return the freeze that holds releases and scheduled changes at a time, or None."""
        return closed_now(Windows(self.timezone, freeze=self.freezes), now_ms)

    @property
    def old_key_until_ms(self) -> int | None:
        """How long the context key before the present one is valid; None: there was none."""
        return None if self.retiring_context_key_id is None else self.context_key_retires_ms

    def context_key_ids(self, now_ms: int) -> tuple[str, ...]:
        """Return the ids of the context keys that are valid now."""
        retiring = self.retiring_context_key_id if now_ms < self.context_key_retires_ms else None
        return tuple(id for id in (self.context_key_id, retiring) if id is not None)
