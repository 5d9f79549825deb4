"""Reads single values from a Prometheus server.

The server's address comes from the settings only. If a policy could contain an address, a
person who writes policies could make this process send requests to any address it can reach.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from urllib.parse import urlencode

from tidegate_server.domain.check_validation import VARIABLE
from tidegate_server.domain.network_addresses import EVERY_ADDRESS
from tidegate_server.errors import QueryFailed
from tidegate_server.outbound.http_client import HttpClient

MAX_TIMEOUT_S = 3.0
MAX_BYTES = 1_000_000
MAX_ERROR_LENGTH = 200

_SPECIAL = re.compile(r"[^\w.-]", re.ASCII)
"""Characters that PromQL accepts as an escape sequence in quotes of either kind."""

_KINDS = ("matrix", "string")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


class Prometheus:
    """A Prometheus server, or another server with its query API.

    Args:
        url: its address, with a path prefix if it has one.
        token: the bearer token to send; empty for none.
    """

    def __init__(self, url: str, token: str = "") -> None:
        self._url = f"{url.rstrip('/')}/api/v1/query"
        self._headers = {"Content-Type": "application/x-www-form-urlencoded"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        # The operator sets the address, and Prometheus is usually on the server's own network.
        self._http = HttpClient(EVERY_ADDRESS)

    def value(
        self, query: str, at_ms: int | None = None, timeout_s: float = MAX_TIMEOUT_S
    ) -> float:
        """Return the value of a query that has exactly one.

        Args:
            query: PromQL.
            at_ms: the time to evaluate the query at, in ms since the epoch; None: now.
            timeout_s: the limit for the request, rounded to tenths; at most ``MAX_TIMEOUT_S``.

        Raises:
            QueryFailed: there is no answer, an error, no value, several values, or a value
                that is not a number.
        """
        fields = {"query": query}
        if at_ms is not None:
            fields["time"] = f"{at_ms / 1000:.3f}"
        result = self._http.request(
            "POST",  # a query may be longer than an address can be
            self._url,
            timeout_s=max(0.1, round(min(timeout_s, MAX_TIMEOUT_S), 1)),
            body=urlencode(fields).encode(),
            headers=self._headers,
            max_bytes=MAX_BYTES,
        )
        if result.status is None:
            raise QueryFailed(f"Prometheus does not respond: {result.detail}")
        return _parse_value(result.status, result.body)


def _parse_value(status: int, body: bytes) -> float:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        raise QueryFailed(f"Prometheus responded with {status}, but not with JSON") from None
    if status != 200 or not isinstance(answer, dict) or answer.get("status") != "success":
        error = answer.get("error") if isinstance(answer, dict) else None
        message = " ".join(error.split())[:MAX_ERROR_LENGTH] if isinstance(error, str) else ""
        raise QueryFailed(f"Prometheus responded with {status}: {message or 'no success'}")
    data = answer.get("data")
    if not isinstance(data, dict):
        raise QueryFailed("Prometheus responded without data")
    kind, result = data.get("resultType"), data.get("result")
    if kind == "scalar":
        return _parse_number(result)
    if kind != "vector" or not isinstance(result, list):
        name = f"a {kind}" if kind in _KINDS else "something else"
        raise QueryFailed(f"the query returned {name}; it must return one value")
    if not result:
        raise QueryFailed("the query returned no series")
    if len(result) > 1:
        raise QueryFailed(f"the query returned {len(result)} series; sum or pick one of them")
    return _parse_number(result[0].get("value") if isinstance(result[0], dict) else None)


def _parse_number(sample: object) -> float:
    text = sample[1] if isinstance(sample, list) and len(sample) == 2 else None
    if text in ("NaN", "+Inf", "-Inf"):
        raise QueryFailed(f"the query returned {text}")
    if not isinstance(text, str) or not _NUMBER.fullmatch(text) or not math.isfinite(float(text)):
        raise QueryFailed("the query did not return a number")
    return float(text)


def fill_variables(query: str, variables: Mapping[str, str]) -> str:
    """Return a query with each ``{{ name }}`` replaced, escaped for PromQL strings."""
    return VARIABLE.sub(lambda match: _escape(variables[match[1].strip()]), query)


def _escape(text: str) -> str:
    return _SPECIAL.sub(lambda match: f"\\U{ord(match[0]):08x}", text)
