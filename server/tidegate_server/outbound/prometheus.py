"""One value from a Prometheus server, or why there is none.

Where the server is comes from the settings alone. A policy that could name an address
would let whoever writes policies make this process call any address it can reach.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from urllib.parse import urlencode

from tidegate_server.domain.check_validation import VARIABLE
from tidegate_server.outbound.http_client import request

ANSWER_SECONDS = 3.0
LARGEST_ANSWER = 1_000_000
LONGEST_ERROR = 200

_SPECIAL = re.compile(r"[^\w.-]", re.ASCII)
"""What keys are not made of; in quotes of either kind PromQL takes its number for it."""

_KINDS = ("matrix", "string")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


class Unreadable(Exception):
    """There is no value; the message says why."""


class Prometheus:
    """A Prometheus server, or anything that speaks its query API.

    Args:
        url: its address, with a path prefix where it has one.
        token: sent as a bearer token; empty: none is needed.
    """

    def __init__(self, url: str, token: str = "") -> None:
        self._at = f"{url.rstrip('/')}/api/v1/query"
        self._headers = {"Content-Type": "application/x-www-form-urlencoded"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"

    def value(
        self, query: str, at_ms: int | None = None, within_s: float = ANSWER_SECONDS
    ) -> float:
        """Return the one value that a query has.

        Args:
            query: PromQL.
            at_ms: at which time, in ms since the epoch; None: now.
            within_s: how long everything may take, ``ANSWER_SECONDS`` at most, to a tenth.

        Raises:
            Unreadable: no answer, an error, no value, several, or one that is no number.
        """
        fields = {"query": query}
        if at_ms is not None:
            fields["time"] = f"{at_ms / 1000:.3f}"
        timeout_s = max(0.1, round(min(within_s, ANSWER_SECONDS), 1))
        # A query may be longer than an address: Prometheus takes it as a form just as well.
        result = request(
            "POST",
            self._at,
            timeout_s=timeout_s,
            body=urlencode(fields).encode(),
            headers=self._headers,
            max_bytes=LARGEST_ANSWER,
        )
        if result.status is None:
            raise Unreadable(f"Prometheus does not answer: {result.problem}")
        return _value_in(result.status, result.body)


def _value_in(status: int, body: bytes) -> float:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        raise Unreadable(f"Prometheus answers {status} and no JSON") from None
    if status != 200 or not isinstance(answer, dict) or answer.get("status") != "success":
        said = answer.get("error") if isinstance(answer, dict) else None
        words = " ".join(said.split())[:LONGEST_ERROR] if isinstance(said, str) else ""
        raise Unreadable(f"Prometheus answers {status}: {words or 'no success'}")
    data = answer.get("data")
    if not isinstance(data, dict):
        raise Unreadable("Prometheus answers without data")
    kind, result = data.get("resultType"), data.get("result")
    if kind == "scalar":
        return _number(result)
    if kind != "vector" or not isinstance(result, list):
        named = f"a {kind}" if kind in _KINDS else "something else"
        raise Unreadable(f"the query gives {named}, where one value is needed")
    if not result:
        raise Unreadable("the query gives nothing")
    if len(result) > 1:
        raise Unreadable(f"the query gives {len(result)} series; sum or pick one of them")
    return _number(result[0].get("value") if isinstance(result[0], dict) else None)


def _number(sample: object) -> float:
    text = sample[1] if isinstance(sample, list) and len(sample) == 2 else None
    if text in ("NaN", "+Inf", "-Inf"):
        raise Unreadable(f"the query gives {text}")
    if not isinstance(text, str) or not _NUMBER.fullmatch(text) or not math.isfinite(float(text)):
        raise Unreadable("the query gives no number")
    return float(text)


def filled(query: str, variables: Mapping[str, str]) -> str:
    """Return a query with ``{{ name }}`` replaced, as PromQL writes text within quotes."""
    return VARIABLE.sub(lambda found: _escaped(variables[found[1]]), query)


def _escaped(text: str) -> str:
    return _SPECIAL.sub(lambda found: f"\\U{ord(found[0]):08x}", text)
