"""Request bodies are read strictly, in the accepted content types only."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Request
from tidegate_server.web.request_bodies import read_body
from werkzeug.exceptions import BadRequest, UnsupportedMediaType
from werkzeug.test import EnvironBuilder


def read(
    body: str | bytes, content_type: str, *, allow_yaml: bool = False, encoding: str = ""
) -> Any:
    headers = [("Content-Encoding", encoding)] if encoding else []
    builder = EnvironBuilder(method="POST", data=body, content_type=content_type, headers=headers)
    return read_body(Request(builder.get_environ()), allow_yaml=allow_yaml)


def test_json_is_always_accepted_and_yaml_only_if_allowed() -> None:
    assert read('{"a": 1}', "application/json; charset=utf-8") == {"a": 1}
    for content_type in ("application/yaml", "application/x-yaml", "text/yaml"):
        assert read("a: 1", content_type, allow_yaml=True) == {"a": 1}
        with pytest.raises(UnsupportedMediaType, match="application/json"):
            read("a: 1", content_type)


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/x-www-form-urlencoded"])
def test_another_content_type_is_refused(content_type: str) -> None:
    with pytest.raises(UnsupportedMediaType, match=content_type or "is missing"):
        read('{"a": 1}', content_type, allow_yaml=True)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('{"a": 1, "a": 2}', "The body has the key 'a' twice"),
        ("{", "The body is not JSON"),
        (b"\xff", "The body is not UTF-8: byte 0"),
        ("[" * 60_000, "The body is nested too deeply"),
    ],
)
def test_a_malformed_or_ambiguous_body_is_refused(body: str | bytes, words: str) -> None:
    with pytest.raises(BadRequest) as refused:
        read(body, "application/json")
    assert words in str(refused.value.description)


def test_a_compressed_body_is_refused() -> None:
    with pytest.raises(UnsupportedMediaType, match="without a Content-Encoding"):
        read("{}", "application/json", encoding="gzip")
