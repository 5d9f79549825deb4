"""What somebody may not do is offered to them on no page, and is refused when it is forced.

Both are found from the pages themselves: every form of every page, and every link.
"""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from urllib.parse import urlsplit

import pytest

from tests.dashboard.every_page import PAGES, TO_PROVIDERS
from tests.dashboard.filled_server import PEOPLE, FilledServer, filled_server, plainly
from tests.dashboard.page_forms import Form, PageForms, reader
from tests.http_calls import stored_documents

OTHERS = [role for role in PEOPLE if role != "admin"]
OWN = ("/sign-out", "/p/shop/settings/you", "/device", "/sign-in", "/invitation", "/you")
"""Where forms are about their reader alone."""


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
        found = PageForms(urlsplit(address).path, answer.text)
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
