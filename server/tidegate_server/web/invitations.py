"""The text of invitations: ``tgi_<id>_<secret>``, in the fragment of a link.

Browsers do not send a fragment to the server, so the secret stays in no log of a proxy.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass, field

from tidegate_server.domain.people import Invitation
from tidegate_server.web.token_secrets import new_secret

PATH = "/invitation"
SIGN_IN_PATH = "/sign-in/link"
_INVITATION = re.compile(r"tgi_([0-9a-z]{1,32})_([0-9a-f]{48})")


@dataclass(frozen=True, slots=True)
class NewInvitation:
    """An invitation and its text, which is shown once."""

    invitation: Invitation
    text: str = field(repr=False)


def new_invitation(
    secret_key: bytes, id: str, *, expires_ms: int, invited_by: str, signs_in_only: bool = False
) -> NewInvitation:
    """Return a new invitation for the person with an id."""
    secret = new_secret()
    digest = _digest(secret_key, id, secret)
    invitation = Invitation(id, digest, expires_ms, invited_by, signs_in_only)
    return NewInvitation(invitation, f"tgi_{id}_{secret}")


def parse_invitation(text: str) -> tuple[str, str] | None:
    """Return the id and the secret in an invitation or its link; None: it is neither."""
    match = _INVITATION.fullmatch(text.strip().rpartition("#")[2])
    return None if match is None else (match[1], match[2])


def is_secret_of(secret_key: bytes, invitation: Invitation, secret: str) -> bool:
    """Return whether a secret is the invitation's, in constant time."""
    return hmac.compare_digest(_digest(secret_key, invitation.id, secret), invitation.digest)


def invitation_link(server_url: str, text: str, *, signs_in_only: bool = False) -> str:
    """Return the link of an invitation."""
    return f"{server_url}{SIGN_IN_PATH if signs_in_only else PATH}#{text}"


def _digest(secret_key: bytes, id: str, secret: str) -> str:
    text = f"invitation {id} {secret}".encode()
    return hmac.new(secret_key, text, hashlib.sha256).hexdigest()
