"""Second factors: one-time codes of an authenticator app (TOTP, RFC 6238), and recovery codes.

The secret of the app is derived from a salt and the server's secret key, so a copy of the store is
not enough to make codes. Of a recovery code the store keeps a digest.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from typing import Any

from tidegate_server.web.token_secrets import same_digest

STEP_SECONDS = 30
STEPS_AROUND = 1
"""How many steps a clock may be wrong, to either side."""

SECRET_BYTES = 20
RECOVERY_CODES = 10
RECOVERY_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"
RECOVERY_LENGTH = 16
"""Characters of a recovery code: 79 bits."""


def new_salt() -> str:
    """Return the salt of a new secret."""
    return secrets.token_hex(16)


def app_secret(secret_key: bytes, person: str, salt: str) -> str:
    """Return the secret for an authenticator app, in Base32."""
    text = f"one-time codes {person} {salt}".encode()
    digest = hmac.new(secret_key, text, hashlib.sha256).digest()
    return base64.b32encode(digest[:SECRET_BYTES]).decode()


def app_uri(secret: str, email: str) -> str:
    """Return the URI of a secret, which apps read as a QR code."""
    return str(_totp(secret).provisioning_uri(name=email, issuer_name="Tidegate"))


def used_step(secret: str, code: str, now_s: float, last_step: int) -> int | None:
    """Return the time step of a one-time code; None: it is wrong, or was used before.

    Args:
        secret: of the app.
        code: six digits.
        now_s: seconds since 1970.
        last_step: the step of the last code that was used.
    """
    given = "".join(code.split())
    if not given.isascii():
        return None
    now_step = int(now_s) // STEP_SECONDS
    totp, found = _totp(secret), None
    for step in range(now_step - STEPS_AROUND, now_step + STEPS_AROUND + 1):
        if same_digest(str(totp.at(step * STEP_SECONDS)), given) and step > last_step:
            found = step
    return found


def new_recovery_codes() -> tuple[str, ...]:
    """Return codes that each replace a one-time code once."""
    return tuple(_recovery_code() for _ in range(RECOVERY_CODES))


def recovery_digest(secret_key: bytes, code: str) -> str:
    """Return the digest of a recovery code that the store keeps: hex HMAC-SHA256."""
    plain = "".join(each for each in code.lower() if each in RECOVERY_ALPHABET)
    return hmac.new(secret_key, b"recovery " + plain.encode(), hashlib.sha256).hexdigest()


def _recovery_code() -> str:
    text = "".join(secrets.choice(RECOVERY_ALPHABET) for _ in range(RECOVERY_LENGTH))
    return "-".join(text[start : start + 4] for start in range(0, RECOVERY_LENGTH, 4))


def _totp(secret: str) -> Any:
    import pyotp

    return pyotp.TOTP(secret, interval=STEP_SECONDS)
