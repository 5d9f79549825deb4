"""The flags of the scenarios, created on a real server.

The specification's suite defines which flags it needs and what they serve.
"""

from __future__ import annotations

from typing import Any

from tests.sdk.server import Environment

Values = dict[str, Any]

BOOLEANS: Values = {"on": True, "off": False}
ZERO_BOOLEANS: Values = {"zero": False, "non-zero": True}
ZERO_STRINGS: Values = {"zero": "", "non-zero": "str"}
ZERO_INTEGERS: Values = {"zero": 0, "non-zero": 1}
ZERO_FLOATS: Values = {"zero": 0.0, "non-zero": 1.0}
PICTURES = {"showImages": True, "title": "Check out these pics!", "imagesPerPage": 100}
ZERO_OBJECTS: Values = {"zero": {}, "non-zero": PICTURES}
CUSTOMERS: Values = {"internal": "INTERNAL", "external": "EXTERNAL"}

METADATA: Values = {"string": "1.0.2", "integer": 2, "float": 0.1, "double": 0.1, "boolean": True}

OF_EVERY_TYPE: dict[str, tuple[str, Values]] = {
    "boolean": ("boolean", ZERO_BOOLEANS),
    "string": ("string", ZERO_STRINGS),
    "integer": ("number", ZERO_INTEGERS),
    "float": ("number", ZERO_FLOATS),
    "object": ("object", ZERO_OBJECTS),
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
TARGETED = rule("zero", compares("email", "equals", "ballmer@macrosoft.com"))
STAFF = compares("customer", "equals", False)
ADULT = (compares("email", "ends_with", "@macrosoft.com"), compares("age", "greater_than", 10))


def create_flags(environment: Environment) -> None:
    """Create the flags that the scenarios share; no scenario changes one."""

    def create(
        key: str, type: str, values: Values, serve: str, *rules: dict[str, Any], **more: Any
    ) -> None:
        variants = [{"key": name, "value": value} for name, value in values.items()]
        environment.flag(key, type, variants=variants)
        environment.target(key, default={"variant": serve}, rules=list(rules), **more)

    for key, type, values, serve in OURS:
        create(key, type, values, serve)
        create(f"{key}-by-plan", type, {**values, "nothing": NOTHING[type]}, serve, BASIC)
        create(
            f"{key}-retired",
            type,
            {**values, "no-value": None},
            serve,
            off_variant="no-value",
            enabled=False,
        )
    environment.flag("raffle")
    halves = [{"variant": name, "weight": 50} for name in BOOLEANS]
    environment.target("raffle", default={"split": halves})

    create("boolean-flag", "boolean", BOOLEANS, "on")
    create("string-flag", "string", {"greeting": "hi", "parting": "bye"}, "greeting")
    create("integer-flag", "number", {"one": 1, "ten": 10}, "ten")
    create("float-flag", "number", {"tenth": 0.1, "half": 0.5}, "half")
    create("object-flag", "object", {"empty": {}, "template": PICTURES}, "template")
    create("wrong-flag", "string", {"one": "uno", "two": "dos"}, "one")
    create("async-flag", "boolean", BOOLEANS, "on")
    environment.flag("metadata-flag", metadata=METADATA)
    create("context-aware", "string", CUSTOMERS, "external", rule("internal", STAFF))
    create("complex-targeted", "string", CUSTOMERS, "external", rule("internal", STAFF, *ADULT))
    for name, (type, values) in OF_EVERY_TYPE.items():
        create(f"{name}-zero-flag", type, values, "zero")
        create(f"{name}-targeted-zero-flag", type, values, "zero", TARGETED)
        # A variant without a value gives the caller's default, as the specification requires.
        off = {**values, "no-value": None}
        create(
            f"{name}-disabled-flag", type, off, "non-zero", off_variant="no-value", enabled=False
        )
