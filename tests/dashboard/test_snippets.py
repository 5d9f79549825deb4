"""The code to paste: it can be parsed for every kind of application and every type of flag."""

from __future__ import annotations

import ast

import pytest
from tidegate_server.dashboard.snippets import JAVASCRIPT_CALLS, TITLES, Setting, guide


@pytest.mark.parametrize("kind", JAVASCRIPT_CALLS)
@pytest.mark.parametrize("name", [name for name, _ in TITLES])
def test_a_guide_asks_for_the_flag_with_the_method_of_its_type(name: str, kind: str) -> None:
    setting = Setting("https://flags.example", "new-search", kind, "tg_sdk_x", "shop")
    found = guide(name, setting)
    for each in found.snippets:
        if each.where.partition(",")[0].endswith(".py"):
            ast.parse(each.code)
    [asks] = [each.code for each in found.snippets if '"new-search"' in each.code]
    method = {"number": "NumberValue" if found.role == "client" else "float"}.get(kind, kind)
    assert method.lower() in asks.lower()
    everything = "".join(each.code for each in found.snippets)
    assert "https://flags.example" in everything
    assert "tg_sdk_x" in everything
