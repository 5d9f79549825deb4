"""One value from a Prometheus server, or why there is none.

Where the server is comes from the settings alone. A policy that could name an address
would let whoever writes policies make this process call any address it can reach.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping

import urllib3

from tidegate_server.domain.check_rules import VARIABLE

CONNECT_SECONDS = 1.0
ANSWER_SECONDS = 2.0
LARGEST_ANSWER = 1_000_000

_SPECIAL = re.compile(r'[\\"\n]')
_ESCAPED = {"\\": "\\\\", '"': '\\"', "\n": "\\n"}


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
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = urllib3.PoolManager(
            retries=False,
            maxsize=8,
            timeout=urllib3.Timeout(
                connect=CONNECT_SECONDS, read=ANSWER_SECONDS, total=CONNECT_SECONDS + ANSWER_SECONDS
            ),
        )

    def value(self, query: str, at_ms: int | None = None) -> float:
        """Return the one value that a query has, now or at a time (ms since the epoch).

        Raises:
            Unreadable: no answer, an error, no value, several, or one that is no number.
        """
        fields = {"query": query}
        if at_ms is not None:
            fields["time"] = f"{at_ms / 1000:.3f}"
        try:
            response = self._http.request(
                "POST", self._at, fields=fields, headers=self._headers, encode_multipart=False,
                redirect=False, preload_content=False,
            )  # fmt: skip
            body = response.read(LARGEST_ANSWER + 1)
            response.release_conn()
        except (urllib3.exceptions.HTTPError, OSError) as error:
            reason = getattr(error, "reason", None)
            kind = type(reason if isinstance(reason, Exception) else error).__name__
            raise Unreadable(f"Prometheus does not answer ({kind})") from None
        return _value_in(response.status, body)


def _value_in(status: int, body: bytes) -> float:
    try:
        answer = json.loads(body)
    except ValueError:
        raise Unreadable(f"Prometheus answers {status} and no JSON") from None
    if not isinstance(answer, dict) or answer.get("status") != "success":
        said = str(answer.get("error", "")) if isinstance(answer, dict) else ""
        raise Unreadable(f"Prometheus answers {status}: {said[:200] or 'no success'}")
    data = answer.get("data")
    if not isinstance(data, dict):
        raise Unreadable("Prometheus answers without data")
    kind, result = data.get("resultType"), data.get("result")
    if kind == "scalar":
        return _number(result)
    if kind != "vector" or not isinstance(result, list):
        raise Unreadable(f"the query gives a {kind}, where one value is needed")
    if not result:
        raise Unreadable("the query gives nothing")
    if len(result) > 1:
        raise Unreadable(f"the query gives {len(result)} series; sum or pick one of them")
    return _number(result[0].get("value") if isinstance(result[0], dict) else None)


def _number(sample: object) -> float:
    text = sample[1] if isinstance(sample, list) and len(sample) == 2 else None
    try:
        value = float(str(text))
    except ValueError:
        raise Unreadable("the query gives no number") from None
    if not math.isfinite(value):
        raise Unreadable(f"the query gives {text}")
    return value


def filled(query: str, variables: Mapping[str, str]) -> str:
    """Return a query with ``{{ name }}`` replaced, as PromQL writes text within quotes."""
    return VARIABLE.sub(lambda found: _escaped(variables[found[1]]), query)


def _escaped(text: str) -> str:
    return _SPECIAL.sub(lambda found: _ESCAPED[found[0]], text)
