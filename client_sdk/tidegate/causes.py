"""Why a server cannot be used: the cause in words that tell a person what to look at.

Nothing that a server sends is trusted: what is shown of it is short, on one line and printable.
"""

from __future__ import annotations

import errno
import http.client
import json
import socket
import ssl
import zlib
from collections.abc import Iterator
from typing import Final

LONGEST_REASON: Final = 1000
"""The most characters of a server's explanation."""

_NOT_TIDEGATE: Final = "there is no Tidegate server at this address"


def network_cause(error: BaseException, host: str, port: int) -> str:
    """Return why no response came.

    Args:
        error: what urllib3, ssl or a socket raised.
        host: the host of the server.
        port: its port.
    """
    place = f"{host}:{port}"
    chain = list(_chain(error))
    for each in chain:
        if isinstance(each, socket.gaierror):
            return f"the name {host} is not found"
        if isinstance(each, ssl.SSLCertVerificationError):
            return f"the certificate of {place} is refused: {each.verify_message}"
        if isinstance(each, ssl.SSLError):
            if each.reason == "WRONG_VERSION_NUMBER":
                return f"{place} does not use TLS: the address may have to begin with http://"
            return f"no TLS connection to {place} ({each.reason or type(each).__name__})"
        if isinstance(each, ConnectionRefusedError):
            return f"nothing listens at {place}"
        if isinstance(each, OSError) and each.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH):
            return f"there is no route to {place}"
    names = {type(each).__name__ for each in chain}
    if "ConnectTimeoutError" in names or ("NewConnectionError" in names and _timed_out(chain)):
        return f"{place} does not accept a connection in time"
    if _timed_out(chain) or "ReadTimeoutError" in names:
        return f"{place} does not answer in time"
    # RemoteDisconnected is a BadStatusLine, too: nothing came.
    if any(type(each) is http.client.BadStatusLine for each in chain):
        return f"{place} does not speak HTTP: the address may have to begin with https://"
    if any(isinstance(each, zlib.error) for each in chain):
        return "the response is damaged"
    if any(isinstance(each, http.client.IncompleteRead) for each in chain):
        return f"the connection to {place} was cut in the middle of a response"
    return f"the connection to {place} was lost ({type(chain[-1]).__name__})"


def status_cause(status: int, detail: str = "", target: str = "") -> str:
    """Return why a response with this status is none that the SDK can use.

    Args:
        status: the HTTP status.
        detail: the server's explanation.
        target: the server that a redirect leads to.
    """
    if status in (401, 403):
        return f"the token is refused ({status})" + (f": {detail}" if detail else "")
    cause = f"the server answers {status}"
    if 300 <= status < 400:
        to = f" to {target}" if target else ""
        return f"{cause}: it redirects{to}, and the SDK follows no redirects"
    if status == 429:
        return f"{cause}: a rate limit refuses requests" + (f": {detail}" if detail else "")
    if not detail and status in (404, 405, 410, 501):
        return f"{cause}: {_NOT_TIDEGATE}"
    return f"{cause}: {detail}" if detail else cause


def foreign_cause(what: str) -> str:
    """Return that a response cannot be a Tidegate server's; ``what`` says why."""
    return f"{what}: {_NOT_TIDEGATE}"


def explanation(body: bytes) -> str:
    """Return what a problem document says, on one line; empty if the body is not one."""
    try:
        problem = json.loads(body)
    except ValueError:
        return ""
    detail = problem.get("detail") if isinstance(problem, dict) else None
    return one_line(detail[:LONGEST_REASON]) if isinstance(detail, str) else ""


def one_line(text: str) -> str:
    """Return a text with a space for each character that cannot be printed."""
    return "".join(each if each.isprintable() else " " for each in text)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and its causes; urllib3 keeps some of them as ``reason`` or an argument."""
    seen: set[int] = set()
    present: BaseException | None = error
    while present is not None and id(present) not in seen:
        seen.add(id(present))
        yield present
        inner = getattr(present, "reason", None)
        if not isinstance(inner, BaseException):
            inner = next((each for each in present.args if isinstance(each, BaseException)), None)
        present = inner or present.__cause__ or present.__context__


def _timed_out(chain: list[BaseException]) -> bool:
    return any(isinstance(each, TimeoutError) for each in chain)
