"""The policies in the documentation are valid, and its fields are those of the schema."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest
from tidegate_server.documents.check_schemas import CheckSchema
from tidegate_server.documents.lint import load_policy
from tidegate_server.documents.policy_schemas import (
    NoDataSchema,
    PolicyBody,
    PolicyFields,
    StageSchema,
)
from tidegate_server.documents.strict_schema import Strict
from tidegate_server.domain.checks import Compare, Metric
from tidegate_server.strict_text import parse_yaml

ROOT = Path(__file__).resolve().parents[2]
DOCS, SERVER = ROOT / "docs", ROOT / "server"
BLOCK = re.compile(r"^```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)
BASE: dict[str, Any] = {
    "key": "example",
    "stages": [{"percentage": 10}, {"percentage": 50}, {"percentage": 100}],
}


def find_fragments(page: str) -> list[dict[str, Any]]:
    """Return the parts of policies on a page; other programs' files are none."""
    texts = BLOCK.findall((DOCS / page).read_text())
    return [parse_yaml(text, page) for text in texts if "scrape_configs:" not in text]


def complete(fragment: dict[str, Any]) -> dict[str, Any]:
    """Return a whole policy with a fragment; the last stage opens to everyone."""
    stages = fragment.get("stages", BASE["stages"])
    if stages[-1]["percentage"] != 100:
        stages = [*stages, {"percentage": 100}]
    return {**BASE, **fragment, "stages": stages}


FRAGMENTS = [
    fragment
    for page in ("policies.md", "operations/production.md")
    for fragment in find_fragments(page)
]


WHOLE_POLICY = re.compile(r"^```yaml\n((?:#.*\n)?key: .*\n(?:.*\n)*?stages:(?:.*\n)*?)^```", re.M)
WHOLE_POLICIES = [
    (page.relative_to(ROOT).as_posix(), text)
    for page in [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
    for text in WHOLE_POLICY.findall(page.read_text())
]


def test_readers_find_a_whole_policy_on_the_first_pages() -> None:
    pages = {page for page, _ in WHOLE_POLICIES}
    assert pages >= {"README.md", "docs/getting-started.md", "docs/policies.md"}


@pytest.mark.parametrize(("page", "text"), WHOLE_POLICIES)
def test_a_whole_policy_in_the_documentation_is_valid_as_it_stands(page: str, text: str) -> None:
    load_policy(parse_yaml(text, page))


@pytest.mark.parametrize("number", range(len(FRAGMENTS)))
def test_every_policy_in_the_documentation_is_valid(number: int) -> None:
    load_policy(complete(FRAGMENTS[number]))


def logged_problems() -> set[str]:
    """Return the events that the server logs as warnings or errors."""
    found = set()
    for path in SERVER.rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(call, ast.Call)
                and isinstance(call.func, ast.Attribute)
                and ast.unparse(call.func.value) == "log"
                and call.func.attr in ("warning", "error", "exception", "critical")
            ):
                found.add(ast.literal_eval(call.args[0]))
    return found


def test_every_warning_and_error_of_the_log_is_explained() -> None:
    rows = re.findall(r"^\| (`\w+`.*?) \|", (DOCS / "operations" / "log.md").read_text(), re.M)
    explained = [event for row in rows for event in re.findall(r"`(\w+)`", row)]
    assert len(explained) == len(set(explained))
    assert set(explained) == logged_problems()


def test_every_metric_has_an_example_of_every_comparison() -> None:
    checks = [
        check for fragment in find_fragments("policies.md") for check in fragment.get("checks", ())
    ]
    shown = {(check["metric"], check["compare"]) for check in checks}
    assert shown == {(str(metric), str(compare)) for metric in Metric for compare in Compare}


FIELD_ROW = re.compile(r"^\| (`[^|]+`) \|.*\| ([^|]*) \|$", re.MULTILINE)
PARTS: dict[str, type[Strict]] = {
    "": PolicyFields,
    "stages[].": StageSchema,
    "checks[].": CheckSchema,
    "no_data.": NoDataSchema,
}
LISTS = {"stages", "checks", "notify", "confirm"}


def field_table() -> dict[str, str]:
    """Return the default of each field, as the table of fields on the page has it."""
    page = (DOCS / "policies.md").read_text()
    table = page[page.index("| field | meaning | default |") : page.index("## Policies that come")]
    found: dict[str, str] = {}
    for names, defaults in FIELD_ROW.findall(table):
        fields = re.findall(r"`([^`]+)`", names)
        values = defaults.split(", ") if len(fields) == defaults.count(",") + 1 else [defaults]
        found |= {
            name: values[min(number, len(values) - 1)].strip("`")
            for number, name in enumerate(fields)
        }
    return found


def test_the_page_about_policies_has_every_field_of_the_schema() -> None:
    fields = {
        f"{prefix}{name}{'[]' if not prefix and name in LISTS else ''}"
        for prefix, schema in PARTS.items()
        for name in schema().fields
    }
    assert field_table().keys() == fields - {"no_data"}


def test_the_page_about_policies_has_the_defaults_of_the_schema() -> None:
    checks: list[dict[str, Any]] = [
        {},
        {"metric": "latency", "compare": "absolute", "threshold": 1},
        {"metric": "custom", "compare": "control", "measure": "x", "quantile": 0.9},
    ]
    policy = PolicyBody().load({**BASE, "checks": checks})
    dumped = PolicyFields().dump(policy)
    defaults = dict(dumped)
    defaults |= {f"no_data.{name}": value for name, value in dumped["no_data"].items()}
    defaults |= {f"stages[].{name}": value for name, value in dumped["stages"][0].items()}
    for check in reversed(dumped["checks"]):  # the error rate against control comes last
        defaults |= {f"checks[].{name}": value for name, value in check.items()}
    documented = {
        name: parse_yaml(text, name)
        for name, text in field_table().items()
        if re.fullmatch(r"[0-9.]+[smhd]?|hold|on|control|rollback|error_rate|<=|false|{.*}", text)
    }
    assert len(documented) > 15
    tolerance = documented.pop("checks[].tolerance")
    assert {**defaults["checks[].tolerance"], **tolerance} == defaults["checks[].tolerance"]
    assert {name: defaults[name] for name in documented} == documented
