"""The address of whoever makes the current request."""

from __future__ import annotations

from flask import has_request_context, request


def current_address() -> str:
    """Return the address behind the trusted proxies; empty if no request is served."""
    return (request.remote_addr or "") if has_request_context() else ""
