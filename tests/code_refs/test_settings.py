"""The settings of a scan."""

from __future__ import annotations

from typing import Any

import pytest
from tidegate_server.code_refs.settings import ScanSettings, Wrapper, parse_settings
from tidegate_server.errors import Invalid


def test_settings_are_parsed() -> None:
    document = {
        "wrappers": ["is_on", {"function": "features.get", "argument": 1, "type": "string"}],
        "aliases": ["camel_case"],
        "exclude": ["docs/*"],
        "extensions": [".Foo"],
    }
    assert parse_settings(document) == ScanSettings(
        (Wrapper("is_on"), Wrapper("features.get", 1, "", "string")),
        ("camel_case",),
        ("docs/*",),
        ("foo",),
    )
    assert parse_settings(None) == ScanSettings()


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "must be an object"),
        ({"wrapper": []}, "no field 'wrapper'. Did you mean 'wrappers'"),
        ({"wrappers": "is_on"}, "wrappers must be a list"),
        ({"wrappers": [{"function": "a b"}]}, r"wrappers\[0\].function must be the name"),
        ({"wrappers": [{"function": "f", "argument": -1}]}, r"wrappers\[0\].argument must be"),
        ({"wrappers": [{"function": "f", "argument": True}]}, r"wrappers\[0\].argument must be"),
        ({"wrappers": [{"function": "f", "keyword": "a-b"}]}, r"wrappers\[0\].keyword must be"),
        ({"wrappers": [{"function": "f", "type": "bool"}]}, r"wrappers\[0\].type must be one of"),
        ({"aliases": ["kebab"]}, "aliases: 'kebab' is not one of camel_case"),
        ({"exclude": [3]}, "exclude must be a list of texts"),
    ],
)
def test_a_bad_setting_is_named(document: Any, message: str) -> None:
    with pytest.raises(Invalid, match=message):
        parse_settings(document)
