"""What somebody may not do is offered to them on no page, and is refused when it is forced.

Both are found from the pages themselves: every form of every page, and every link.
"""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from html.parser import HTMLParser
from urllib.parse import urlsplit

import pytest
from flask.testing import FlaskClient
from werkzeug.datastructures import MultiDict
from werkzeug.test import TestResponse

from tests.dashboard.every_page import PAGES, TO_PROVIDERS
from tests.dashboard.filled_server import PEOPLE, FilledServer, filled_server, plainly
from tests.http_calls import stored_documents
from tests.people import PASSWORD

OTHERS = [role for role in PEOPLE if role != "admin"]
OWN = ("/sign-out", "/p/shop/settings/you", "/device", "/sign-in", "/invitation", "/you")
"""Where forms are about their reader alone."""


@dataclass
class Form:
    """A form of a page with one of its buttons, as a browser would send it."""

    action: str
    fields: list[tuple[str, str]] = field(default_factory=list)

    @property
    def act(self) -> tuple[str, str]:
        """Where it goes, and what its button says."""
        return self.action, dict(self.fields).get("do", "")


class _Forms(HTMLParser):
    """Collects the links of a page, and its forms that post: once for each button."""

    def __init__(self, path: str, text: str) -> None:
        super().__init__()
        self.path = path
        self.forms: list[Form] = []
        self.links: set[str] = set()
        self._fields: list[tuple[str, str]] | None = None
        self._buttons: list[tuple[str, str] | None] = []
        self._action = ""
        self._select = ""
        self._area = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        name, value = given.get("name") or "", given.get("value") or ""
        if tag == "a" and given.get("href"):
            self.links.add(given["href"] or "")
        elif tag == "form" and (given.get("method") or "").lower() == "post":
            self._fields, self._buttons = [], []
            self._action = given.get("action") or self.path
        elif self._fields is None or "disabled" in given:
            return
        elif tag == "button" and (given.get("type") or "submit") == "submit":
            self._buttons.append((name, value) if name else None)
        elif tag == "input" and name:
            kind = given.get("type")
            if kind not in ("checkbox", "radio") or "checked" in given:
                self._fields.append((name, value))
        elif tag == "select":
            self._select = name
        elif tag == "option" and self._select:
            self._fields.append((self._select, value))
            self._select = ""
        elif tag == "textarea":
            self._area = name

    def handle_data(self, data: str) -> None:
        if self._area and self._fields is not None:
            self._fields.append((self._area, data.strip()))
            self._area = ""

    def handle_endtag(self, tag: str) -> None:
        if tag == "form" and self._fields is not None:
            for button in self._buttons:
                extra = [button] if button is not None else []
                self.forms.append(Form(self._action, [*self._fields, *extra]))
            self._fields = None
        elif tag == "select":
            self._select = ""


@dataclass
class Reader:
    """A person of a role, signed in."""

    client: FlaskClient
    csrf: str

    def get(self, address: str) -> TestResponse:
        return self.client.get(address, follow_redirects=True)

    def send(self, form: Form) -> TestResponse:
        data: MultiDict[str, str] = MultiDict(form.fields)
        data["csrf_token"] = self.csrf
        return self.client.post(form.action, data=data)


@dataclass(frozen=True)
class Offered:
    """What pages offer to a reader.

    Attributes:
        forms: every form, by what it does.
        links: every link, with a page that has it.
        shown: the paths of the pages that the reader may see.
    """

    forms: Mapping[tuple[str, str], Form]
    links: Mapping[str, str]
    shown: frozenset[str]


@pytest.fixture(scope="module")
def server() -> Iterator[FilledServer]:
    with filled_server(shop=plainly) as filled:
        yield filled


def reader(server: FilledServer, called: str) -> Reader:
    client = server.app.test_client()
    body = {"email": f"{called}@shop.example", "password": PASSWORD}
    answer = client.post("/api/v1/sign-in", json=body)
    assert answer.json is not None
    return Reader(client, answer.json["csrf_token"])


@cache
def offered(server_id: int, called: str) -> Offered:
    """Return what all pages offer; they do not change while only forced forms are sent."""
    server, at = _servers[server_id], reader(_servers[server_id], called)
    forms: dict[tuple[str, str], Form] = {}
    links: dict[str, str] = {}
    shown = set()
    for page in dict.fromkeys(page.partition("?")[0] for page in PAGES):
        address = server.address(page)
        answer = at.get(address)
        if answer.status_code != 200:
            continue
        shown.add(urlsplit(address).path)
        found = _Forms(urlsplit(address).path, answer.text)
        for form in found.forms:
            if not form.action.startswith(OWN):
                forms.setdefault(form.act, form)
        for link in found.links:
            links.setdefault(html.unescape(link).partition("#")[0], address)
    return Offered(forms, links, frozenset(shown))


_servers: dict[int, FilledServer] = {}


@pytest.fixture
def offers(server: FilledServer) -> FilledServer:
    _servers[id(server)] = server
    return server


@pytest.mark.parametrize("role", PEOPLE)
def test_every_link_leads_somewhere(offers: FilledServer, role: str) -> None:
    at = reader(offers, role)
    found = offered(id(offers), role)
    dead = [
        f"{link} on {page}"
        for link, page in found.links.items()
        if link.startswith("/")
        and not link.startswith(TO_PROVIDERS)
        and urlsplit(link).path not in found.shown
        and at.get(link).status_code != 200
    ]
    assert "\n".join(dead) == ""


@pytest.mark.parametrize("role", OTHERS)
def test_what_is_not_offered_is_refused_when_forced(offers: FilledServer, role: str) -> None:
    everything = offered(id(offers), "owner").forms
    assert len(everything) > 30
    mine = offered(id(offers), role).forms
    at, before = reader(offers, role), stored_documents(offers.store)
    accepted = [
        f"{act}: {answer.status_code}"
        for act, form in everything.items()
        if act not in mine and (answer := at.send(form)).status_code not in (403, 404)
    ]
    assert "\n".join(accepted) == ""
    after = stored_documents(offers.store)
    assert {name for name in after if after[name] != before.get(name)} <= {"sessions"}


@pytest.mark.parametrize("role", OTHERS[::-1])
def test_what_is_offered_is_not_forbidden(offers: FilledServer, role: str) -> None:
    """Runs last: it does what is offered, the least powerful role first."""
    at = reader(offers, role)
    forbidden = [
        f"{act}"
        for act, form in offered(id(offers), role).forms.items()
        if at.send(form).status_code == 403
    ]
    assert "\n".join(forbidden) == ""
