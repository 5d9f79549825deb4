"""No request header makes the server fail, whatever its value."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tidegate_server.web.etags import parse_etags
from werkzeug.routing import AnyConverter, BaseConverter, IntegerConverter

from tests.http_calls import PRODUCTION, Caller
from tests.web.test_etags import UPDATES

HEADERS = (
    "Accept",
    "Accept-Charset",
    "Accept-Encoding",
    "Accept-Language",
    "Access-Control-Request-Headers",
    "Access-Control-Request-Method",
    "Authorization",
    "Cache-Control",
    "Content-Encoding",
    "Content-Length",
    "Content-Type",
    "Cookie",
    "Date",
    "Expect",
    "Forwarded",
    "From",
    "Host",
    "If-Match",
    "If-Modified-Since",
    "If-None-Match",
    "If-Range",
    "If-Unmodified-Since",
    "Last-Event-ID",
    "Max-Forwards",
    "Origin",
    "Pragma",
    "Range",
    "Referer",
    "TE",
    "Transfer-Encoding",
    "User-Agent",
    "Via",
    "X-API-Key",
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Proto",
    "X-HTTP-Method-Override",
    "X-Request-ID",
)
CONDITIONAL = ("If-Match", "If-None-Match", "If-Range", "Last-Event-ID")

ODD = (
    *(
        "",
        " ",
        '"',
        '""',
        "W/",
        'W/"',
        'W/""',
        "*",
        "*, *",
        ",",
        ",,,",
        '"4',
        '4"',
        'W/"4"',
        'w/"4"',
    ),
    *('"4", "5"', '"4" "5"', '"a,b"', '"\\""', "-1", "9" * 30, "1e9", "0x4", "\x80\xff", "é"),
    *("Bearer", "Bearer ", "Basic", "Basic x", "Basic Og==", "Basic /////w==", "Digest a=b,c"),
    *("bytes=0-", "bytes=-1", "bytes=9-1", "gzip;q=x", "gzip;q=-1", "*;q=1e400", "a/b;c=d;q"),
    *("text/html; charset=none", "application/json; charset=utf-7", "multipart/form-data"),
    *("localhost:x", "[::1", "a b", "a/b", "a:99999", "xn--", "Thu, 01 Jan 1970 00:00:00 GMT"),
    *("Thu, 99 Jan 99999 99:99:99 GMT", "chunked", "100-continue", "identity", "a=b; c", "=;="),
)
BYTES = st.characters(codec="latin-1", exclude_categories=["Cc"])
VALUES = st.sampled_from(ODD) | st.text(BYTES, max_size=30)
REQUESTS = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys((*CONDITIONAL, "Accept-Encoding", "Authorization"), VALUES),
).flatmap(
    lambda first: st.dictionaries(st.sampled_from(HEADERS), VALUES, max_size=3).map(
        lambda more: {**first, **more}
    )
)


def part(converter: BaseConverter, key: str | None) -> str | int:
    """Return a part of a path that its converter takes; ``key`` names what exists."""
    if isinstance(converter, IntegerConverter):
        return 1
    return min(converter.items) if isinstance(converter, AnyConverter) else key or "none"


def sample_paths(app: Flask, release: str) -> list[tuple[str, str]]:
    """Return the method and path of every route, with the keys of documents that exist."""
    keys = {
        "project": "default",
        "environment": "production",
        "flag": "checkout",
        "segment": "staff",
        "policy": "careful",
        "release": release.rpartition("/")[2],
        "key": "checkout",
        "token": "bootstrap",
    }
    paths = []
    for rule in app.url_map.iter_rules():
        values = {name: part(rule._converters[name], keys.get(name)) for name in rule.arguments}
        path = rule.build(values, append_unknown=False)
        assert path is not None
        methods = {"HEAD", "OPTIONS"} ^ (rule.methods or set())
        paths += [(method, path[1]) for method in sorted(methods)]
        paths += [("HEAD", path[1]), ("OPTIONS", path[1])]
    return sorted(set(paths))


def test_no_header_makes_a_route_fail(
    app: Flask, checkout: Caller, sdk: Caller, release: str
) -> None:
    bodies = dict(UPDATES.values())
    bodies[f"{PRODUCTION}/flags/checkout/kill"] = {}
    bodies[f"{release}/pause"] = {}
    paths = sample_paths(app, release)
    assert len(paths) > 100
    app.extensions["tidegate"].streams.close()  # streams end after their first events

    @settings(
        max_examples=25, deadline=None, derandomize=True, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(headers=REQUESTS)
    def never_fails(headers: dict[str, str]) -> None:
        for method, path in paths:
            token = sdk.token if path.startswith(("/sdk/", "/ofrep/")) else checkout.token
            sent = {"Authorization": f"Bearer {token}", **headers}
            body = bodies.get(path, {}) if method in ("POST", "PUT") else None
            response = checkout.client.open(path, method=method, headers=sent, json=body)
            assert response.status_code < 500, (method, path, headers, response.text)

    never_fails()


@pytest.mark.parametrize("header", ["If-Match", "If-None-Match"])
@given(st.sampled_from(ODD) | st.text())
def test_any_conditional_header_can_be_read(header: str, value: str) -> None:
    etags = parse_etags(value)
    assert etags.any is (value.strip() == "*")
    assert all('"' not in tag for tag in etags.tags)


@pytest.mark.parametrize("what", UPDATES)
@pytest.mark.parametrize("weaken", ["W/{}", "w/{}", 'W/"0", W/{}', " {} "])
def test_a_weakened_etag_still_allows_the_update(checkout: Caller, what: str, weaken: str) -> None:
    path, body = UPDATES[what]
    tag = weaken.format(checkout.get(path).headers["ETag"])
    assert checkout.get(path, headers={"If-None-Match": tag}).status_code == 304
    assert checkout.put(path, body, match=tag).status_code == 200
    assert checkout.put(path, body, match=tag).status_code == 412


@pytest.mark.parametrize("match", ["", '""', '"', "my-tag", '"x", "y"', "W/"])
def test_an_etag_that_is_none_is_not_called_stale(checkout: Caller, match: str) -> None:
    path, body = UPDATES["segment"]
    refused = checkout.put(path, body, match=match)
    assert refused.status_code == 412
    assert "names no revision of segment staff" in refused.text
    assert "Someone changed" not in refused.text


def test_a_stream_and_an_evaluation_accept_weakened_tags(sdk: Caller) -> None:
    snapshot = sdk.get("/sdk/v1/snapshot")
    tag = snapshot.headers["ETag"]
    for same in (tag, f"W/{tag}", f'"x", W/{tag}', "*"):
        assert sdk.get("/sdk/v1/snapshot", headers={"If-None-Match": same}).status_code == 304
    evaluated = sdk.post("/ofrep/v1/evaluate/flags", {})
    tag = evaluated.headers["ETag"]
    for same in (tag, f"W/{tag}", f'"x", W/{tag}'):
        sent: dict[str, Any] = {"If-None-Match": same}
        assert sdk.post("/ofrep/v1/evaluate/flags", {}, headers=sent).status_code == 304
