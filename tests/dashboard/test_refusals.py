"""What somebody typed is there again, whatever refuses it: found from every form of every page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from http import HTTPStatus
from itertools import cycle
from typing import Any
from urllib.parse import urlsplit

import pytest
from flask import Response, current_app
from tidegate_server.dashboard import api
from tidegate_server.web import problem_documents
from tidegate_server.web.blueprint import UNCHANGING

from tests.dashboard.every_page import PAGES
from tests.dashboard.filled_server import FilledServer, filled_server, plainly
from tests.dashboard.page_forms import Form, PageForms, Reader, reader

ELSEWHERE = ("/sign-in", "/sign-out", "/invitation", "/device")
"""Forms of people who are not signed in, or that sign out."""

OWN = ("/you", "/p/shop/settings/you")
"""Where forms are about their reader alone: nobody approves what they do."""

NOT_ASKED = ("test", "secret", "forget", "unmap", "forget ann")
"""Buttons of what never needs approval: it keeps a secret, tries something or takes away."""

JSON = "application/json"

UNSEEN = ("csrf_token", "etag", "revision", "do", "refused-do", "kept_form", "part", "propose")
"""Fields that nobody types."""

REFUSALS = {
    "bad": (HTTPStatus.BAD_REQUEST, "bad-request"),
    "forbidden": (HTTPStatus.FORBIDDEN, "forbidden"),
    "not possible": (HTTPStatus.CONFLICT, "not-possible"),
    "needs approval": (HTTPStatus.CONFLICT, "approval-required"),
    "changed": (HTTPStatus.PRECONDITION_FAILED, "stale-revision"),
    "too many": (HTTPStatus.TOO_MANY_REQUESTS, "rate-limited"),
    "no store": (HTTPStatus.SERVICE_UNAVAILABLE, "store-unavailable"),
}

OTHERS = [each for each in REFUSALS if each not in ("changed", "needs approval")]


@pytest.fixture(scope="module")
def server() -> Iterator[FilledServer]:
    with filled_server(shop=plainly) as filled:
        yield filled


@pytest.fixture(scope="module")
def owner(server: FilledServer) -> Reader:
    return reader(server, "owner")


@pytest.fixture(scope="module")
def forms(server: FilledServer, owner: Reader) -> list[Form]:
    """Return every form of every page with each of its buttons, filled in."""
    found: dict[tuple[Any, ...], Form] = {}
    for page in PAGES:
        address = server.address(page)
        answer = owner.get(address)
        if answer.status_code != HTTPStatus.OK:
            continue
        whole = urlsplit(address)
        path = f"{whole.path}?{whole.query}" if whole.query else whole.path
        for form in PageForms(path, answer.text).forms:
            names = tuple(sorted({each.name for each in form.inputs}))
            # What one chooses in a policy decides which of its other fields there are.
            filled = form.filled_in(choosing="/policies/" not in form.action)
            if not form.action.startswith(ELSEWHERE):
                found.setdefault((form.action, names, form.button), filled)
    assert len(found) > 150
    return list(found.values())


def changes(address: str, method: str, query: Mapping[str, Any]) -> bool:
    """Return whether a request to the API would change something."""
    if method == "GET" or query.get("plan") == "true":
        return False
    adapter = current_app.url_map.bind("localhost")
    endpoint, _ = adapter.match(address, method=method)
    return getattr(current_app.view_functions[endpoint], "permission", None) not in UNCHANGING


def lost(form: Form, page: str) -> list[str]:
    """Return which of the fields that somebody filled in a page does not have any more."""
    there = {pair for each in PageForms("", page).forms for pair in each.fields}
    return [
        f"{form.action} {form.button}: {each.name}={each.value!r}"
        for each in form.inputs
        if each.sent
        and each.kind not in ("hidden", "password", "file")
        and each.name not in UNSEEN
        and "secret" not in each.name
        and each.value
        and (each.name, each.value) not in there
    ]


@pytest.mark.parametrize("whys", [["changed"], ["needs approval"], OTHERS], ids=" ".join)
def test_what_was_typed_survives_what_the_api_refuses(
    forms: list[Form], owner: Reader, monkeypatch: pytest.MonkeyPatch, whys: list[str]
) -> None:
    """Each form is refused for each of the first two reasons, and for one of the others."""
    send = api._send
    refused: list[str] = []
    status, slug = REFUSALS[whys[0]]

    def refuse(method: str, address: str, query: Any, *rest: Any) -> Any:
        if not changes(address, method, query):
            return send(method, address, query, *rest)
        refused.append(address)
        return problem_documents.problem(status, slug, "Refused", "It is refused.")

    monkeypatch.setattr(api, "_send", refuse)
    gone: list[str] = []
    for form, why in zip(forms, cycle(whys), strict=False):
        status, slug = REFUSALS[why]
        refused.clear()
        answer = owner.send(form)
        if refused:
            assert answer.status_code == status, (form.action, form.button)
            gone += lost(form, answer.text)
    assert not gone, "\n".join(gone)


@pytest.mark.parametrize("why", ["forbidden", "too many", "no store"])
def test_what_was_typed_survives_a_page_that_cannot_be_shown(
    forms: list[Form], owner: Reader, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    status, slug = REFUSALS[why]

    def refuse(method: str, address: str, *rest: Any) -> Any:
        return problem_documents.problem(status, slug, "Refused", "It is refused.")

    monkeypatch.setattr(api, "_send", refuse)
    gone: list[str] = []
    for form in forms:
        answer = owner.send(form)
        if answer.status_code == status:
            gone += lost(form, answer.text)
    assert not gone, "\n".join(gone)


def test_what_needs_approval_is_proposed_as_it_was_filled_in(
    forms: list[Form], owner: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a form asks of the API is the same when it is proposed, also if it has more buttons."""
    send = api._send
    asked: list[tuple[str, str, Any]] = []
    proposed: list[tuple[str, str, Any]] = []

    def refuse(method: str, address: str, query: Any, body: Any, headers: Any, *rest: Any) -> Any:
        if not changes(address, method, query):
            return send(method, address, query, body, headers, *rest)
        if "Tidegate-Propose" in headers:
            proposed.append((method, address, body))
            there = "http://localhost/api/v1/projects/shop/change-requests/cr_1"
            return Response("{}", HTTPStatus.ACCEPTED, {"Location": there}, mimetype=JSON)
        asked.append((method, address, body))
        return problem_documents.problem(*REFUSALS["needs approval"], "Refused", "It is guarded.")

    monkeypatch.setattr(api, "_send", refuse)
    wrong: list[str] = []
    for form in forms:
        asked.clear()
        proposed.clear()
        refused = owner.send(form)
        button = form.button[1] if form.button else ""
        if not asked or form.action.startswith(OWN) or form.action.endswith("/share"):
            continue
        if button in NOT_ASKED:
            continue
        again = [
            each
            for each in PageForms(form.action, refused.text).forms
            if each.button and each.button[0] == "propose" and each.action == form.action
        ]
        if not again:
            wrong.append(f"{form.action} {form.button}: nothing to propose")
            continue
        page = owner.send(again[0])
        if page.status_code != HTTPStatus.SEE_OTHER or proposed[:1] != asked:
            wrong.append(f"{form.action} {form.button}: {page.status_code} {asked} {proposed}")
    assert not wrong, "\n".join(wrong)


def test_what_was_typed_leads_back_to_its_form(server: FilledServer) -> None:
    responder, source = reader(server, "viewer"), "reason: for the spring sale\nevery: {{\n"
    address = "/p/shop/schedules/new/yaml"
    form = Form(address, [])
    form.button = ("source", source)
    refused = responder.send(form)
    assert refused.status_code == HTTPStatus.FORBIDDEN
    assert "nothing of it was saved" in refused.text
    [back] = PageForms(address, refused.text).forms
    assert back.action == address
    assert ("source", source) in back.fields
    again = reader(server, "owner").send(back)
    assert source in again.text.replace("&#34;", '"')
    assert again.status_code != HTTPStatus.SEE_OTHER


def test_another_site_is_not_shown_as_what_was_typed(server: FilledServer) -> None:
    somebody = reader(server, "viewer")
    answer = somebody.client.post(
        "/p/shop/schedules/new/yaml",
        data={"source": "from elsewhere"},
        headers={"Origin": "https://elsewhere.example"},
    )
    assert answer.status_code == HTTPStatus.FORBIDDEN
    assert "from elsewhere" not in answer.text
