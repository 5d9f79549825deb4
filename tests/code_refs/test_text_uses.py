"""Uses of flags in code of other languages, in templates and in configuration."""

from __future__ import annotations

from pathlib import Path

import pytest
from tidegate_server.code_refs.settings import ALIASES, ScanSettings

from tests.code_refs.trees import found, scan, write


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("a.js", "client.getBooleanValue('new-checkout', false)"),
        ("a.ts", "await client.getObjectDetails<Theme>(\n  `new-checkout`,\n  {})"),
        ("a.tsx", 'const { value } = useFlag("new-checkout", false)'),
        ("a.jsx", 'useBooleanFlagValue("new-checkout", false)'),
        ("a.go", 'client.BooleanValue(ctx, "new-checkout", false, evalCtx)'),
        ("a.go", 'client.StringValueDetails(context.Background(), "new-checkout", "", c)'),
        ("a.java", 'client.getStringValue("new-checkout", "x")'),
        ("a.kt", 'client.getIntegerDetails("new-checkout", 1)'),
        ("a.cs", 'await client.GetBooleanValueAsync("new-checkout", false)'),
        ("a.php", "$client->getBooleanValue('new-checkout', false)"),
        ("a.rb", "client.fetch_boolean_value(flag_key: 'new-checkout', default_value: false)"),
        ("a.swift", 'client.getBooleanValue(key: "new-checkout", defaultValue: false)'),
        ("a.rs", 'client.get_bool_value("new-checkout", None, None)'),
        ("a.sh", "curl -X POST $URL/ofrep/v1/evaluate/flags/new-checkout"),
    ],
)
def test_calls_of_openfeature_are_found_without_knowing_the_flag(
    tmp_path: Path, name: str, call: str
) -> None:
    write(tmp_path, {name: f"// first line\n{call}\n"})
    ((_, _, key, kind),) = found(scan(tmp_path))
    assert (key, kind) == ("new-checkout", "call")


def test_a_known_key_counts_in_quotes_and_only_as_a_whole(tmp_path: Path) -> None:
    lines = [
        "ask('new-checkout')",
        'ask("new-checkout-2", "my-new-checkout")',
        "new-checkout",
        "`new-checkout`",
        "'new-checkout\"",
    ]
    write(tmp_path, {"a.js": "\n".join(lines), "b.md": lines[0], "c.html": lines[0]})
    assert found(scan(tmp_path, ("new-checkout",))) == [
        ("a.js", 1, "new-checkout", "text"),
        ("a.js", 4, "new-checkout", "text"),
        ("c.html", 1, "new-checkout", "text"),
    ]


def test_aliases_count_where_they_are_switched_on(tmp_path: Path) -> None:
    text = (
        "newCheckout\nNewCheckout\nnew_checkout\nNEW_CHECKOUT\nmynewCheckout newCheckout2\nbeta\n"
    )
    write(tmp_path, {"a.js": text, "b.py": "flags.new_checkout\nNEW_CHECKOUT = 1\n"})
    assert found(scan(tmp_path, ("new-checkout", "beta"))) == []
    every = scan(tmp_path, ("new-checkout", "beta"), ScanSettings(aliases=tuple(ALIASES)))
    assert [(path, line) for path, line, _, kind in found(every) if kind == "alias"] == [
        ("a.js", 1), ("a.js", 2), ("a.js", 3), ("a.js", 4), ("b.py", 1), ("b.py", 2),
    ]  # fmt: skip


def test_minified_code_is_left_out(tmp_path: Path) -> None:
    write(tmp_path, {"a.js": "x;" * 2_000 + "ask('new-checkout')\nask('new-checkout')\n"})
    assert [line for _, line, _, _ in found(scan(tmp_path, ("new-checkout",)))] == [2]


def test_the_lines_around_a_use_are_kept_on_request(tmp_path: Path) -> None:
    write(tmp_path, {"a.js": "one\ntwo\nask('k')\nfour\r\nfive"})
    assert [use.source for use in scan(tmp_path, ("k",)).uses] == ["ask('k')"]
    assert [use.source for use in scan(tmp_path, ("k",), None, 1).uses] == ["two\nask('k')\nfour"]
    assert [use.source for use in scan(tmp_path, ("k",), None, None).uses] == [""]
