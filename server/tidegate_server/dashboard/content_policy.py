"""What a page may load, and where its forms may go."""

from __future__ import annotations

from urllib.parse import urlsplit

_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action {}; base-uri 'none'; frame-ancestors 'none'"
)
OWN = _POLICY.format("'self'")


def with_forms_to(url: str) -> str:
    """Return the policy of a page with a form for another server.

    That server may send the browser on to others, which browsers count as the same form.
    """
    parts = urlsplit(url)
    return _POLICY.format(f"'self' https: {parts.scheme}://{parts.netloc}")
