"""What a flag serves now and why, as a sentence, a chip and a bar."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Any

from tidegate_server.dashboard import release_sentences, words
from tidegate_server.dashboard.charts.rollout_bar import share_label
from tidegate_server.dashboard.reason_words import sentence
from tidegate_server.dashboard.release_sentences import Chip, Status
from tidegate_server.dashboard.rule_sentences import serve_words


@dataclass(frozen=True, slots=True)
class FlagState:
    """What a flag serves in an environment, for a line of a list and for its own page.

    Attributes:
        says: a few words beside the chip.
        share: who gets ``variant``, in percent of everyone.
        variant: the variant that the bar is about.
        notches: where stages open, in percent.
        rest: the variant of all others; empty: they do not all get the same one.
        settled: nobody gets ``variant``, and no rule changes that.
    """

    chip: Chip
    says: str
    share: float
    variant: str
    killed: bool
    notches: tuple[float, ...]
    status: Status
    rest: str = ""
    settled: bool = False

    @property
    def everyone(self) -> str:
        """The variant that everyone gets for whom no rule decides; empty: not one for all."""
        if 0 < self.share < 100:
            return ""
        return self.variant if self.share and self.rest else self.rest

    @property
    def bar_says(self) -> str:
        """The sentence that stands for the bar where it is not seen."""
        one = self.everyone
        return share_label(100.0, one) if one else share_label(self.share, self.variant)


def flag_state(
    targeting: dict[str, Any],
    release: dict[str, Any] | None,
    on_variants: set[str],
    now: datetime,
    zone: tzinfo,
) -> FlagState:
    """Return what a flag serves.

    Args:
        targeting: as the API answers it.
        release: its live release; None: there is none.
        on_variants: the variants that count as on: not the off variant.
        now: the time of the page.
        zone: the reader's.
    """
    off = targeting["kill_variant"] or targeting["off_variant"]
    if targeting["killed"]:
        kill = targeting["killed"]
        since = words.clock(words.parse_instant(kill["at"]), now, zone)
        why = f"By {kill['actor']}, {since}"
        why += f", with every flag that has the tag {kill['tag']}" if kill["tag"] else ""
        why += f": \u201c{kill['reason']}\u201d" if kill["reason"] else "."
        return FlagState(
            Chip("kill", "kill", "Killed"),
            f"everyone gets {off}",
            0.0,
            off,
            True,
            (),
            Status("bad", "kill", f"Killed: everyone gets {off}.", why),
            rest=off,
            settled=True,
        )
    if not targeting["enabled"]:
        off = targeting["off_variant"]
        return FlagState(
            Chip("", "x", "Off"),
            f"everyone gets {off}",
            0.0,
            off,
            False,
            (),
            Status(
                "",
                "x",
                f"Off: everyone gets {off}.",
                "Its rules and its default wait until it is switched on.",
            ),
            rest=off,
            settled=True,
        )
    if release is not None:
        return _released(release, now, zone)
    default = targeting["default"]
    share, shown = _share(default, on_variants, targeting["off_variant"])
    rules = len(targeting["rules"])
    by = "by default" if not rules else f"after {rules} rule{'s' if rules > 1 else ''}"
    what = (
        f"Everyone gets {shown}."
        if default.get("variant") and not rules
        else f"{_upper(serve_words(default))} {by}."
    )
    on = share > 0
    chip = Chip("", "check", "On") if on else Chip("", "x", "Off")
    says = (
        f"everyone, {by}"
        if share >= 100
        else (
            f"everyone gets {shown}" if default.get("variant") else f"split {serve_words(default)}"
        )
    )
    why = "No release is under way." if not rules else "The rules decide first; see below."
    status = Status("", chip.icon, what, why)
    rest = _rest(default, shown)
    return FlagState(chip, says, share, shown, False, (), status, rest)


def _released(release: dict[str, Any], now: datetime, zone: tzinfo) -> FlagState:
    chip = release_sentences.chip(release)
    open_to = release_sentences.open_to(release)
    openings = [] if release["closed"] else release["openings"]
    for_all = not release["rule"] and not any(each["segments"] for each in openings)
    share = max((each["percentage"] for each in openings if not each["segments"]), default=0.0)
    status = release_sentences.status(release, None, now, zone)
    acts = chip.kind == "run"
    opens = "A release opens it." if acts else f"Its release: {chip.word.lower()}."
    return FlagState(
        chip,
        open_to,
        float(share),
        release["treatment"],
        False,
        release_sentences.notches(release),
        Status(
            status.kind,
            status.icon,
            _split_words(open_to, release["treatment"], release["control"]),
            f"{opens} {sentence(status.why)}",
        ),
        release["control"] if for_all else "",
    )


def _split_words(open_to: str, treatment: str, control: str) -> str:
    if open_to == "everyone":
        return f"Everyone gets {treatment}."
    if open_to == "nobody":
        return f"Everyone gets {control}, nobody {treatment}."
    return f"{_upper(open_to)} get {treatment}, the rest gets {control}."


def charted_variant(
    definition: dict[str, Any],
    targeting: dict[str, Any],
    release: dict[str, Any] | None,
    state: FlagState,
) -> str:
    """Return the variant whose evaluations stand out: the new one, even if nobody gets it now."""
    if release is not None:
        return str(release["treatment"])
    new = [
        each["key"] for each in definition["variants"] if each["key"] != targeting["off_variant"]
    ]
    return str(new[0]) if len(new) == 1 else state.variant


def without_prerequisites(
    state: FlagState, targeting: dict[str, Any], unmet: list[dict[str, Any]]
) -> FlagState:
    """Return what a flag serves where another flag does not serve what it needs.

    Args:
        state: what it would serve else.
        targeting: as the API answers it.
        unmet: its prerequisites that nobody meets.
    """
    if not unmet or targeting["killed"] or not targeting["enabled"]:
        return state
    off = targeting["off_variant"]
    needs = " and ".join(f"{each['flag']} to serve {_either(each['variants'])}" for each in unmet)
    return FlagState(
        Chip("warn", "warn", "Waits"),
        f"everyone gets {off}",
        0.0,
        off,
        False,
        (),
        Status("warn", "warn", f"Everyone gets {off}.", f"It needs {needs}."),
        rest=off,
        settled=True,
    )


def _either(variants: list[str]) -> str:
    return " or ".join(variants)


def _share(default: dict[str, Any], on_variants: set[str], off: str) -> tuple[float, str]:
    if default.get("variant"):
        key = default["variant"]
        return (0.0 if key == off else 100.0), key
    for each in default["split"]:
        if each["variant"] in on_variants and each["weight"] > 0:
            return float(each["weight"]), each["variant"]
    return 0.0, off


def _rest(default: dict[str, Any], shown: str) -> str:
    """Return the one variant that all get who do not get ``shown``; empty: there are several."""
    if default.get("variant"):
        return str(default["variant"])
    served = {each["variant"] for each in default["split"] if each["weight"]}
    others = list(served - {shown}) or [shown]
    return str(others[0]) if len(others) == 1 else ""


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]


@dataclass(frozen=True, slots=True)
class RungView:
    """One line of the ladder."""

    name: str
    says: str
    does: str
    kind: str


NAMES = {
    "kill": "Kill",
    "disabled": "Off",
    "stop": "Stop",
    "policy": "Policy",
    "rule": "Rules",
    "default": "Default",
}
NOT = {"kill": "not killed", "stop": "nobody has stopped it", "policy": "no release is under way"}


def rungs(targeting: dict[str, Any], unmet: list[dict[str, Any]]) -> list[RungView]:
    """Return the ladder: what decides, what would decide if it ended, and what does not apply.

    Args:
        targeting: as the API answers it.
        unmet: its prerequisites that nobody meets.
    """
    found: dict[str, dict[str, Any]] = {}
    for each in targeting["ladder"]:
        found.setdefault(each["cause"], each)
    views: list[RungView] = []
    decided = False
    rules = len(targeting["rules"])
    for cause, name in NAMES.items():
        if cause == "policy" and unmet:
            says = ", ".join(
                f"{each['flag']} to serve {_either(each['variants'])}" for each in unmet
            )
            views.append(_rung("Needs", says, decided))
            decided = True
        rung = found.get(cause)
        if rung is None:
            if cause in NOT:
                views.append(RungView(name, NOT[cause], "passes", ""))
            continue
        if cause == "rule":
            says = f"{rules} rule{'s' if rules != 1 else ''}, then the default"
        else:
            says = words.tied(rung["serves"])
        if decided:
            hard = unmet or _is_hard(found)
            does = "decides first for some" if cause == "rule" and not hard else "waits"
            views.append(RungView(name, says, does, "under"))
        else:
            bad = " bad" if cause == "kill" else ""
            views.append(RungView(name, says, "holds", f"holds{bad}"))
            decided = True
    return views


def _rung(name: str, says: str, decided: bool) -> RungView:
    return (
        RungView(name, says, "waits", "under")
        if decided
        else RungView(name, says, "holds", "holds")
    )


def _is_hard(found: dict[str, Any]) -> bool:
    """Return whether a kill or a disabled flag decides for everyone, before the rules."""
    return "kill" in found or "disabled" in found


def evaluated(document: dict[str, Any], now: datetime) -> str:
    """Return when a flag was last evaluated and how often it is now, in a few words."""
    last = document["last_at"] or document["in_bulk_at"]
    if last is None:
        return "never"
    often = document["per_minute"]
    ago = words.ago(last, now)
    about = "about " if document["estimated"] else ""
    return f"{ago}, {about}{words.number(often)} a minute" if often and ago == "now" else ago
