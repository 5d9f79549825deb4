"""Documents of the API in few words, as tables show them."""

from __future__ import annotations

import json
from typing import Any

from tidegate_server.cli.api_client import Json


def instant(text: str | None) -> str:
    """``2026-01-31 09:00:00Z`` for an instant of the API; empty for none."""
    return "" if text is None else text[:19].replace("T", " ") + "Z"


def instant_of(at_ms: int) -> str:
    """The same for milliseconds since the epoch."""
    from datetime import UTC, datetime

    return instant(datetime.fromtimestamp(at_ms / 1000, tz=UTC).isoformat())


def milliseconds(value: float | None) -> str:
    """``35 ms``, ``1.2 s``."""
    if value is None:
        return "-"
    return f"{value:.0f} ms" if value < 1_000 else f"{value / 1_000:.1f} s"


def percent(value: float) -> str:
    """``5 %``, ``0.125 %``."""
    return f"{value:g} %"


def serving(serve: Json) -> str:
    """What is served: ``on``, or ``on 25 %, off 75 %``."""
    if "variant" in serve:
        return str(serve["variant"])
    return ", ".join(f"{each['variant']} {percent(each['weight'])}" for each in serve["split"])


def condition(when: Json | None) -> str:
    """Whom a condition means: ``plan equals "pro" and in segment staff``."""
    if when is None:
        return "nobody else"
    if "segment" in when:
        return f"in segment {when['segment']}"
    for group, joint in (("all", " and "), ("any", " or "), ("none", " or ")):
        if group in when:
            inner = joint.join(_inner(each) for each in when[group])
            return f"not ({inner})" if group == "none" else inner or _of_nothing(group)
    value = f" {_value(when['value'])}" if "value" in when else ""
    return f"{when['attribute']} {when['operator']}{value}"


def _inner(when: Json) -> str:
    text = condition(when)
    groups = len(when.get("all", ())) > 1 or len(when.get("any", ())) > 1
    return f"({text})" if groups else text


def _of_nothing(group: str) -> str:
    return "everyone" if group == "all" else "nobody"


def _value(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def audience(stage: Json) -> str:
    """Whom a stage opens: ``5 % of everyone``, ``10 % of staff, testers``."""
    return f"{percent(stage['percentage'])} of {', '.join(stage['segments']) or 'everyone'}"
