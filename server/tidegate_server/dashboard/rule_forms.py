"""A targeting as the fields of a form, and back.

The form works without a script: each of its buttons sends the whole form, and the page comes back
with a line more or less. A rule whose conditions are nested is edited as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tidegate_server.dashboard.rule_sentences import COMPARES, plain
from tidegate_server.dashboard.typed_numbers import whole_number
from tidegate_server.errors import Unreadable
from tidegate_server.strict_text import parse_json

SEGMENT = "segment"
"""The operator of a line that names a segment instead of an attribute."""

MOST_CHARACTERS = 64_000
"""How long attributes or metadata may be that are typed as lines; no API takes longer ones."""

SERVE = "serve-"
"""What stands before a variant in the name of the field of its weight."""

LISTS = frozenset({"in"})
"""Operators whose value is a list, which people write with commas."""


@dataclass(frozen=True, slots=True)
class ConditionLine:
    """One condition of a rule: an attribute, an operator and a value, as typed."""

    attribute: str = ""
    operator: str = "equals"
    value: str = ""


@dataclass(frozen=True, slots=True)
class RuleForm:
    """One rule, as typed.

    Attributes:
        match: ``all`` or ``any`` of the lines.
        source: the conditions as JSON, where lines cannot show them; empty: the lines count.
        serves: the weight of each variant in percent, as typed; empty: it gets nothing.
    """

    id: str = ""
    match: str = "all"
    lines: tuple[ConditionLine, ...] = (ConditionLine(),)
    source: str = ""
    serves: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PrerequisiteLine:
    """Another flag, and its variants with commas, as typed."""

    flag: str = ""
    variants: str = ""


@dataclass(frozen=True, slots=True)
class TargetingForm:
    """What a flag serves, as typed."""

    enabled: bool
    off_variant: str
    kill_variant: str
    default: Mapping[str, str]
    rules: tuple[RuleForm, ...]
    prerequisites: tuple[PrerequisiteLine, ...] = ()


def from_targeting(targeting: Mapping[str, Any]) -> TargetingForm:
    """Return the form of a targeting."""
    return TargetingForm(
        targeting["enabled"],
        targeting["off_variant"],
        targeting["kill_variant"] or "",
        _weights(targeting["default"]),
        tuple(_rule_form(rule) for rule in targeting["rules"]),
        tuple(
            PrerequisiteLine(each["flag"], ", ".join(each["variants"]))
            for each in targeting["prerequisites"]
        ),
    )


def _weights(serve: Mapping[str, Any]) -> dict[str, str]:
    if serve.get("variant"):
        return {serve["variant"]: "100"}
    return {each["variant"]: f"{each['weight']:g}" for each in serve["split"]}


def _rule_form(rule: Mapping[str, Any]) -> RuleForm:
    return replace(condition_form(rule["when"]), id=rule["id"], serves=_weights(rule["serve"]))


def condition_form(when: Mapping[str, Any]) -> RuleForm:
    """Return the form of a condition: lines, or JSON where lines cannot show it."""
    for match in ("all", "any"):
        if match in when:
            lines = [_line(each) for each in when[match]]
            if all(line is not None for line in lines):
                kept = tuple(line for line in lines if line is not None)
                return RuleForm(match=match, lines=kept)
    line = _line(when)
    if line is not None:
        return RuleForm(lines=(line,))
    return RuleForm(lines=(), source=json.dumps(when, ensure_ascii=False))


def _line(condition: Mapping[str, Any]) -> ConditionLine | None:
    """Return a simple condition as a line that can be read back without a change, or None."""
    if "segment" in condition:
        return ConditionLine("", SEGMENT, condition["segment"])
    if "attribute" not in condition or condition["operator"] not in COMPARES:
        return None
    operator, value = condition["operator"], condition.get("value")
    if operator == "exists":
        text: str | None = ""
    elif operator in LISTS:
        items = [shown_value(each) for each in value] if isinstance(value, list) else [None]
        usable = bool(items) and all(each is not None and "," not in each for each in items)
        text = ", ".join(each or "" for each in items) if usable else None
    elif operator in TEXTS:
        usable = isinstance(value, str) and value != "" and value == value.strip()
        text = value if usable else None
    else:
        text = shown_value(value)
    return None if text is None else ConditionLine(condition["attribute"], operator, text)


def shown_value(value: Any) -> str | None:
    """Return a value as text that ``read_value`` reads as the same value; None: there is none."""
    candidates = [plain(value), f'"{value}"']
    for text in candidates:
        read = read_value(text)
        if text and text == text.strip() and read == value and type(read) is type(value):
            return text
    return None


def read_value(text: str) -> str | int | float | bool:
    """Return what a reader means: true and false, numbers, and else a text.

    A text in double quotes is that text, so that "42" can be told from 42.
    """
    text = text.strip()
    if len(text) >= 2 and text[0] == text[-1] == '"':
        return text[1:-1]
    if text in ("true", "false"):
        return text == "true"
    try:
        number = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return number if isinstance(number, int | float) and not isinstance(number, bool) else text


def from_form(form: Mapping[str, str]) -> TargetingForm:
    """Return a form as it was typed.

    Args:
        form: the fields by name; rules and their lines are numbered from 0 without gaps.
    """
    weights = _typed_weights(form)
    rules: list[RuleForm] = []
    while f"rule-{len(rules)}-id" in form:
        rules.append(_typed_rule(form, f"rule-{len(rules)}-", weights))
    needs: list[PrerequisiteLine] = []
    while (name := f"prerequisite-{len(needs)}-flag") in form:
        variants = form.get(f"prerequisite-{len(needs)}-variants", "")
        needs.append(PrerequisiteLine(form[name].strip(), variants.strip()))
    return TargetingForm(
        form.get("enabled") == "yes",
        form.get("off_variant", ""),
        form.get("kill_variant", ""),
        weights.get("default-", {}),
        tuple(rules),
        tuple(needs),
    )


def typed_rule(form: Mapping[str, str], prefix: str) -> RuleForm:
    """Return a rule of a form, the names of whose fields begin with ``prefix``."""
    return _typed_rule(form, prefix, _typed_weights(form))


def _typed_rule(
    form: Mapping[str, str], prefix: str, weights: Mapping[str, dict[str, str]]
) -> RuleForm:
    lines: list[ConditionLine] = []
    while f"{prefix}line-{len(lines)}-operator" in form:
        line = f"{prefix}line-{len(lines)}-"
        lines.append(
            ConditionLine(
                form.get(f"{line}attribute", "").strip(),
                form[f"{line}operator"],
                form.get(f"{line}value", "").strip(),
            )
        )
    return RuleForm(
        form.get(f"{prefix}id", "").strip(),
        "any" if form.get(f"{prefix}match") == "any" else "all",
        tuple(lines),
        form.get(f"{prefix}source", "").strip(),
        weights.get(prefix, {}),
    )


def _typed_weights(form: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Return the weights of variants, by what the names of their fields begin with.

    All are found in one pass, as a form may have thousands of fields.
    """
    found: dict[str, dict[str, str]] = {}
    for name, value in form.items():
        prefix, serves, variant = name.partition(SERVE)
        if serves:
            found.setdefault(prefix, {})[variant] = value.strip()
    return found


def pressed(form: TargetingForm, button: str) -> TargetingForm:
    """Return the form after a button that changes its lines.

    Args:
        form: as it was typed.
        button: ``add-rule``, ``add-line N``, ``remove-rule N``, ``remove-line N M``, ``move N M``,
            ``add-prerequisite``, ``remove-prerequisite N``, with N and M counted from 0; anything
            else changes nothing.
    """
    verb, *numbers = button.split() or [""]
    at = [at for each in numbers if (at := whole_number(each)) is not None]
    if len(at) < len(numbers):
        return form
    rules, needs = list(form.rules), list(form.prerequisites)
    match verb, at:
        case "add-rule", []:
            taken = {rule.id for rule in rules}
            number = next(n for n in range(1, len(rules) + 2) if f"rule-{n}" not in taken)
            rules.append(RuleForm(id=f"rule-{number}"))
        case "add-line", [index] if index < len(rules):
            rules[index] = replace(rules[index], lines=(*rules[index].lines, ConditionLine()))
        case "remove-rule", [index] if index < len(rules):
            del rules[index]
        case "remove-line", [index, line] if index < len(rules) and line < len(rules[index].lines):
            lines = rules[index].lines
            rules[index] = replace(rules[index], lines=lines[:line] + lines[line + 1 :])
        case "move", [index, to] if index < len(rules) and to < len(rules):
            rules.insert(to, rules.pop(index))
        case "add-prerequisite", []:
            needs.append(PrerequisiteLine())
        case "remove-prerequisite", [index] if index < len(needs):
            del needs[index]
    return replace(form, rules=tuple(rules), prerequisites=tuple(needs))


def goes_on_at(form: TargetingForm, button: str) -> str:
    """Return where its reader goes on after a button that changes lines.

    Args:
        form: after the button.
        button: as for ``pressed``.

    Returns:
        The name of a field, or what a button is called where no line is left; empty: the button
        changes no lines.
    """
    verb, *numbers = button.split() or [""]
    at = [at for each in numbers if (at := whole_number(each)) is not None]
    rules, needs = form.rules, form.prerequisites
    match verb, at:
        case "add-rule", [] if rules:
            return f"rule-{len(rules) - 1}-line-0-attribute"
        case "remove-rule", [index]:
            return f"rule-{min(index, len(rules) - 1)}-id" if rules else "add-rule"
        case (("add-line" | "remove-line"), [index, *line]) if index < len(rules):
            last = len(rules[index].lines) - 1
            kept = min(line[0], last) if line else last
            return f"rule-{index}-line-{kept}-attribute" if last >= 0 else f"add-line {index}"
        case "add-prerequisite", [] if needs:
            return f"prerequisite-{len(needs) - 1}-flag"
        case "remove-prerequisite", [index]:
            kept = min(index, len(needs) - 1)
            return f"prerequisite-{kept}-flag" if needs else "add-prerequisite"
    return button if verb == "preview" else ""


@dataclass(frozen=True, slots=True)
class TypedTargeting:
    """A targeting read from a form, and what cannot be read, by the name of its field."""

    document: dict[str, Any]
    errors: dict[str, str]


def to_targeting(form: TargetingForm) -> TypedTargeting:
    """Return the targeting that a form describes."""
    errors: dict[str, str] = {}
    rules = []
    for number, rule in enumerate(form.rules):
        prefix = f"rule-{number}-"
        rules.append(
            {
                "id": rule.id,
                "when": read_condition(rule, prefix, errors),
                "serve": _serve(rule.serves, f"{prefix}serve", errors),
            }
        )
    document = {
        "enabled": form.enabled,
        "off_variant": form.off_variant,
        "kill_variant": form.kill_variant or None,
        "default": _serve(form.default, "default-serve", errors),
        "rules": rules,
        "prerequisites": [
            _prerequisite(line, f"prerequisite-{number}-", errors)
            for number, line in enumerate(form.prerequisites)
        ],
    }
    return TypedTargeting(document, errors)


def _prerequisite(line: PrerequisiteLine, prefix: str, errors: dict[str, str]) -> dict[str, Any]:
    if not line.flag:
        errors[f"{prefix}flag"] = "Name the flag, or remove the line."
    variants = [each.strip() for each in line.variants.split(",") if each.strip()]
    if not variants:
        errors[f"{prefix}variants"] = "Name what it must serve, such as on."
    return {"flag": line.flag, "variants": variants}


def read_condition(rule: RuleForm, prefix: str, errors: dict[str, str]) -> Any:
    """Return the condition that a rule describes; adds what cannot be read to ``errors``."""
    if rule.source:
        try:
            return parse_json(rule.source, "This")
        except Unreadable as error:
            errors[f"{prefix}source"] = error.message
            return None
    conditions = [
        _typed_condition(line, f"{prefix}line-{number}-", errors)
        for number, line in enumerate(rule.lines)
    ]
    if not conditions:
        errors[f"{prefix}id"] = "Add a condition, or remove the rule."
    return conditions[0] if len(conditions) == 1 else {rule.match: conditions}


def _typed_condition(line: ConditionLine, prefix: str, errors: dict[str, str]) -> dict[str, Any]:
    if line.operator == SEGMENT:
        return {"segment": line.value}
    if not line.attribute:
        errors[f"{prefix}attribute"] = "Name the attribute, such as country."
    condition: dict[str, Any] = {"attribute": line.attribute, "operator": line.operator}
    if line.operator == "exists":
        return condition
    if not line.value:
        errors[f"{prefix}value"] = "Give a value to compare with."
    if line.operator in LISTS:
        condition["value"] = [read_value(each) for each in line.value.split(",") if each.strip()]
    elif line.operator in TEXTS:
        condition["value"] = line.value
    else:
        condition["value"] = read_value(line.value)
    return condition


TEXTS = frozenset(
    {
        *("starts_with", "ends_with", "matches", "in_cidr", "semver_equal", "semver_greater"),
        *("semver_greater_or_equal", "semver_less", "semver_less_or_equal"),
    }
)
"""Operators that compare with a text, also where it looks like a number."""


def _serve(weights: Mapping[str, str], name: str, errors: dict[str, str]) -> dict[str, Any]:
    """Return what is served: the variant with all of 100 %, or a split."""
    parts = []
    for key, text in weights.items():
        number = text.removesuffix("%").strip()
        if number in ("", "0"):
            continue
        try:
            parts.append((key, float(number)))
        except ValueError:
            errors[name] = f"{text} is not a percentage."
    if not parts:
        errors.setdefault(name, "Give 100 % to one variant, or split it between some.")
        return {"variant": next(iter(weights), "")}
    if len(parts) == 1 and parts[0][1] == 100:
        return {"variant": parts[0][0]}
    total = sum(weight for _, weight in parts)
    if abs(total - 100) > 1e-9:
        errors[name] = f"The parts add up to {total:g} %, not to 100 %."
    return {"split": [{"variant": key, "weight": weight} for key, weight in parts]}


def field_of(pointer: str, form: TargetingForm) -> str:
    """Return the name of the form's field for a JSON pointer into the targeting."""
    parts = pointer.strip("/").split("/")
    if parts[0] == "default":
        return "default-serve"
    if parts[0] == "prerequisites":
        last = "variants" if "variants" in parts else "flag"
        return f"prerequisite-{parts[1] if len(parts) > 1 else 0}-{last}"
    if parts[0] != "rules" or len(parts) < 2 or not parts[1].isdecimal():
        return parts[0]
    prefix = f"rule-{parts[1]}-"
    rest = parts[2:]
    if rest[:1] == ["serve"]:
        return f"{prefix}serve"
    if rest[:1] != ["when"]:
        return f"{prefix}id"
    number = int(parts[1])
    if number < len(form.rules) and form.rules[number].source:
        return f"{prefix}source"
    line = next((each for each in rest if each.isdecimal()), "0")
    last = rest[-1] if rest[-1] in ("attribute", "operator", "value") else "value"
    return f"{prefix}line-{line}-{'value' if last == 'operator' else last}"
