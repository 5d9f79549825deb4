"""Values from the API as short text."""

from __future__ import annotations

import json
from typing import Any

from tidegate_server.cli.api_client import Json


def count(number: int, noun: str) -> str:
    """``1 rule``, ``2 rules``: a number with its noun, which gets a plural ``s``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def instant(text: str | None) -> str:
    """``2026-01-31 09:00:00Z`` for a time in a document; empty for None."""
    return "" if text is None else text[:19].replace("T", " ") + "Z"


def instant_from_ms(at_ms: int) -> str:
    """``2026-01-31 09:00:00Z`` for milliseconds since the epoch."""
    from datetime import UTC, datetime

    return instant(datetime.fromtimestamp(at_ms / 1000, tz=UTC).isoformat())


def last_change(document: Json) -> str:
    """``2026-01-31 09:00:00Z, revision 3``."""
    return f"{instant(document['updated_at'])}, revision {document['revision']}"


def milliseconds(value: float | None) -> str:
    """``35 ms``, ``1.2 s``."""
    if value is None:
        return "-"
    return f"{value:.0f} ms" if value < 1_000 else f"{value / 1_000:.1f} s"


def age(seconds: float) -> str:
    """``40 s``, ``12 min``, ``5 h``, ``3 d``: roughly how long something has lasted."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def percent(value: float) -> str:
    """``5 %``, ``0.125 %``."""
    return f"{value:g} %"


def serving(serve: Json) -> str:
    """What is served: ``on``, or ``on 25 %, off 75 %``."""
    if "variant" in serve:
        return str(serve["variant"])
    return ", ".join(f"{each['variant']} {percent(each['weight'])}" for each in serve["split"])


def condition(when: Json | None) -> str:
    """Who meets a condition: ``plan equals "pro" and in segment staff``."""
    if when is None:
        return "none"
    if "segment" in when:
        return f"in segment {when['segment']}"
    for group, conjunction in (("all", " and "), ("any", " or "), ("none", " or ")):
        if group in when:
            inner = conjunction.join(_in_brackets(each) for each in when[group])
            if group == "none":
                return f"not ({inner})"
            return inner or ("everyone" if group == "all" else "nobody")
    value = f" {json_text(when['value'])}" if "value" in when else ""
    return f"{when['attribute']} {when['operator']}{value}"


def _in_brackets(when: Json) -> str:
    text = condition(when)
    several = len(when.get("all", ())) > 1 or len(when.get("any", ())) > 1
    return f"({text})" if several else text


def json_text(value: Any) -> str:
    """A JSON value on one line."""
    return json.dumps(value, ensure_ascii=False)


def audience(stage: Json) -> str:
    """Who gets the treatment in a stage: ``5 % of everyone``, ``10 % of staff, testers``."""
    return f"{percent(stage['percentage'])} of {', '.join(stage['segments']) or 'everyone'}"
