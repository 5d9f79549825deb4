"""QR codes, drawn on the server as SVG: nothing is loaded from elsewhere."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import segno
from markupsafe import Markup

QUIET_ZONE = 4
"""The white edge that readers of QR codes need, in modules."""


def qr_code(uri: str) -> tuple[Markup, str]:
    """Return the QR code of an authenticator app's URI, and the secret in it, to type.

    Args:
        uri: beginning with ``otpauth://totp/``.
    """
    picture = segno.make(uri, micro=False, error="m").svg_inline(
        border=QUIET_ZONE,
        omitsize=True,
        dark="#000",
        light="#fff",
        svgclass="qr",
        lineclass=None,
        title="QR code for an authenticator app",
    )
    secret = parse_qs(urlsplit(uri).query).get("secret", [""])[0]
    return Markup(picture), secret  # noqa: S704 - modules of a QR code, no text of others
