"""The remote evaluation protocol's response bodies as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from tidegate.evaluation.results import Evaluation

_encode = msgspec.json.Encoder().encode


def success_body(key: str, evaluation: Evaluation, metadata: Mapping[str, Any]) -> bytes:
    """Return the body of a flag's evaluation.

    ``value`` is omitted if the variant has none: the client then uses the default in its code.
    """
    body = {
        "key": key,
        "value": evaluation.value,
        "reason": evaluation.reason,
        "variant": evaluation.variant,
        "metadata": metadata,
    }
    if evaluation.value is None:
        del body["value"]
    return _encode(body)


def failure_body(key: str | None, code: str, details: str) -> bytes:
    """Return the body of a failure; ``key`` is the flag, if the request was for one flag."""
    body = {"errorCode": code, "errorDetails": details}
    return _encode(body if key is None else {"key": key, **body})


def bulk_body(flags: bytes, stream_url: str, inactivity_seconds: int) -> bytes:
    """Return the body of a bulk evaluation.

    Args:
        flags: the list of all evaluations, as JSON.
        stream_url: the URL of the stream of change events.
        inactivity_seconds: how long a page in the background keeps its stream.
    """
    streams = [{"type": "sse", "url": stream_url, "inactivityDelaySec": inactivity_seconds}]
    return b'{"flags":' + flags + b',"eventStreams":' + _encode(streams) + b"}"


def counted_body(flags: Sequence[str]) -> bytes:
    """Return the response to an outcome: the flags that it counts for."""
    return _encode({"counted": flags})
