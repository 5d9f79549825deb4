"""The pages about the API name its routes, and no others."""

from __future__ import annotations

import re
from pathlib import Path
from typing import cast

from tidegate_server.application import create_app
from tidegate_server.store import Store
from tidegate_server.web.settings import ApiSettings

from tests.http_application import SECRET_KEY

DOCS = Path(__file__).parents[2] / "docs"
PAGES = ("http-api.md", "people.md", "openfeature.md", "wire-formats.md")
PREFIXES = ("/api/v1/", "/sdk/v1/", "/ofrep/v1/")
VARIABLE = re.compile(r"\b(P|E|F|S|W|N|ID|KEY|VERSION)\b")


def routes() -> set[str]:
    """Return the paths of the API, with X for each variable."""
    app = create_app(cast(Store, None), ApiSettings(SECRET_KEY))
    rules = {re.sub(r"<[^>]*>", "X", rule.rule) for rule in app.url_map.iter_rules()}
    return {rule for rule in rules if rule.startswith(PREFIXES)}


def test_every_route_is_named() -> None:
    text = "".join((DOCS / page).read_text() for page in PAGES)
    found = routes()
    assert len(found) > 150
    for route in found:
        last = [word for word in route.split("/") if word and word != "X"][-1]
        assert re.search(rf"\b{re.escape(last)}\b", text), route


def test_every_named_path_of_a_project_exists() -> None:
    table = (DOCS / "http-api.md").read_text()
    named = set(re.findall(r"`(projects/P[^`?]*)`", table))
    assert len(named) > 30
    paths = {f"/api/v1/{VARIABLE.sub('X', path)}" for path in named}
    assert paths - routes() == set()
