"""The flags that the scenarios ask for, made on a real server.

The specification's suite says by name which flags it needs, and what they give.
"""

from __future__ import annotations

from typing import Any

from tests.sdk.server import Environment

Values = dict[str, Any]

BOOLEANS: Values = {"on": True, "off": False}
SIGNS: Values = {"zero": False, "non-zero": True}
TEXTS: Values = {"zero": "", "non-zero": "str"}
COUNTS: Values = {"zero": 0, "non-zero": 1}
RATIOS: Values = {"zero": 0.0, "non-zero": 1.0}
PICTURES = {"showImages": True, "title": "Check out these pics!", "imagesPerPage": 100}
OBJECTS: Values = {"zero": {}, "non-zero": PICTURES}
CUSTOMERS: Values = {"internal": "INTERNAL", "external": "EXTERNAL"}

OF_EVERY_TYPE: dict[str, tuple[str, Values]] = {
    "boolean": ("boolean", SIGNS),
    "string": ("string", TEXTS),
    "integer": ("number", COUNTS),
    "float": ("number", RATIOS),
    "object": ("object", OBJECTS),
}

NOTHING = {"boolean": False, "string": "", "number": 0, "object": {}}
OURS: tuple[tuple[str, str, Values, str], ...] = (
    ("checkout", "boolean", BOOLEANS, "on"),
    ("banner", "string", {"plain": "Hello", "festive": "Happy holidays"}, "festive"),
    ("page-size", "number", {"few": 20, "many": 50}, "many"),
    ("discount", "number", {"tenth": 0.1, "quarter": 0.25}, "quarter"),
    ("limits", "object", {"low": {"rate": 0.5, "burst": [1, 2]}, "high": {"rate": 9}}, "low"),
)


def compares(attribute: str, operator: str, value: Any) -> dict[str, Any]:
    return {"attribute": attribute, "operator": operator, "value": value}


def rule(variant: str, *conditions: dict[str, Any]) -> dict[str, Any]:
    return {"id": "rule", "when": {"all": list(conditions)}, "serve": {"variant": variant}}


BASIC = rule("nothing", compares("plan", "equals", "basic"))
KNOWN = rule("zero", compares("email", "equals", "ballmer@macrosoft.com"))
STAFF = compares("customer", "equals", False)
GROWN = (compares("email", "ends_with", "@macrosoft.com"), compares("age", "greater_than", 10))


def make_flags(environment: Environment) -> None:
    """Make every flag that the scenarios share; none of them changes one of these."""

    def make(
        key: str, type: str, values: Values, serve: str, *rules: dict[str, Any], **more: Any
    ) -> None:
        variants = [{"key": name, "value": value} for name, value in values.items()]
        environment.flag(key, type, variants=variants)
        environment.target(key, default={"variant": serve}, rules=list(rules), **more)

    for key, type, values, serve in OURS:
        make(key, type, values, serve)
        make(f"{key}-by-plan", type, {**values, "nothing": NOTHING[type]}, serve, BASIC)
        make(
            f"{key}-retired",
            type,
            {**values, "code": None},
            serve,
            off_variant="code",
            enabled=False,
        )
    environment.flag("raffle")
    halves = [{"variant": name, "weight": 50} for name in BOOLEANS]
    environment.target("raffle", default={"split": halves})

    make("boolean-flag", "boolean", BOOLEANS, "on")
    make("string-flag", "string", {"greeting": "hi", "parting": "bye"}, "greeting")
    make("integer-flag", "number", {"one": 1, "ten": 10}, "ten")
    make("float-flag", "number", {"tenth": 0.1, "half": 0.5}, "half")
    make("object-flag", "object", {"empty": {}, "template": PICTURES}, "template")
    make("wrong-flag", "string", {"one": "uno", "two": "dos"}, "one")
    make("async-flag", "boolean", BOOLEANS, "on")
    make("metadata-flag", "boolean", BOOLEANS, "on")
    make("context-aware", "string", CUSTOMERS, "external", rule("internal", STAFF))
    make("complex-targeted", "string", CUSTOMERS, "external", rule("internal", STAFF, *GROWN))
    for name, (type, values) in OF_EVERY_TYPE.items():
        make(f"{name}-zero-flag", type, values, "zero")
        make(f"{name}-targeted-zero-flag", type, values, "zero", KNOWN)
        # A variant without a value leaves it to the code, as the specification wants it here.
        off = {**values, "code": None}
        make(f"{name}-disabled-flag", type, off, "non-zero", off_variant="code", enabled=False)
