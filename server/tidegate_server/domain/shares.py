"""Shares: links that show one release, or the state of one flag or release, without signing in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from tidegate_server.domain.change import Address, Audit, Change, Delete, Put, Stored
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.policy import HOUR

LONGEST_MS = 90 * 24 * HOUR
MAX_SHARES = 500


class ShareKind(StrEnum):
    """What a link shows: the report of a release, or a badge with a state and nothing else."""

    REPORT = "report"
    BADGE = "badge"


@dataclass(frozen=True, slots=True)
class Share:
    """A link.

    Attributes:
        environment: where its release or flag is.
        digest: hex HMAC-SHA256 of its secret; the secret is not stored.
        created_by, created_ms: who made it, as in the audit log, and when.
        expires_ms: when it stops working; None: when somebody revokes it.
        release: the id of the release that it shows; empty: it shows a flag.
        flag: the key of the flag that it shows, or of the release's.
    """

    id: str
    kind: ShareKind
    environment: str
    digest: str
    created_by: str
    created_ms: int
    expires_ms: int | None
    release: str
    flag: str

    def has_expired(self, now_ms: int) -> bool:
        """Return whether it no longer works."""
        return self.expires_ms is not None and now_ms >= self.expires_ms


def share_address(id: str) -> Address:
    """Return the address of a share."""
    return Address(Kind.SHARE, id)


def create_share(project: str, share: Share, *, actor: str, reason: str) -> Change:
    """Return the change that makes a link."""
    return Change(
        scope=project,
        writes=(Put(share_address(share.id), share, 0),),
        audit=Audit(actor, "share.create", share.id, share.environment, reason, _details(share)),
    )


def revoke_share(project: str, stored: Stored, *, actor: str, reason: str) -> Change:
    """Return the change after which a link no longer works."""
    share: Share = stored.document
    return Change(
        scope=project,
        writes=(Delete(share_address(share.id), stored.revision, before=share),),
        audit=Audit(actor, "share.revoke", share.id, share.environment, reason, _details(share)),
    )


def _details(share: Share) -> Mapping[str, object]:
    return {
        "kind": str(share.kind),
        "flag": share.flag,
        "release": share.release,
        "expires_ms": share.expires_ms,
    }
