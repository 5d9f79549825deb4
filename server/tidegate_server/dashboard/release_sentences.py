"""What a release does now, why, and what is next, as sentences from the answers of the API."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from typing import Any, Final

from tidegate_server.dashboard import words
from tidegate_server.dashboard.reason_words import reason_words
from tidegate_server.dashboard.release_needs import missing_gates, still_needs
from tidegate_server.documents.fields import Duration

OVER: Final = ("completed", "rolled_back")

CHIPS: Final = {
    "draft": ("draft", "draft", "Draft"),
    "running": ("run", "release", "Running"),
    "baking": ("run", "timer", "Baking"),
    "holding": ("warn", "hand", "Holding"),
    "awaiting_approval": ("warn", "ask", "Awaiting approval"),
    "cooldown": ("warn", "clock", "Cooling down"),
    "paused": ("", "pause", "Paused"),
    "stopped": ("", "stop", "Full stop"),
    "killed": ("kill", "kill", "Killed"),
    "rolled_back": ("bad", "back", "Rolled back"),
    "completed": ("good", "check", "Completed"),
}
"""The colour, the icon and the word of each state."""


@dataclass(frozen=True, slots=True)
class Chip:
    """A state: its colour, its shape and its word."""

    kind: str
    icon: str
    word: str


@dataclass(frozen=True, slots=True)
class Status:
    """The sentence at the top of a release.

    Attributes:
        kind: how it is meant: ``run``, ``warn``, ``bad``, ``good`` or nothing.
        what: what is, in bold.
        why: what follows it: the reason, what is next and when.
        look: the page of the environment with the cause, and its words; empty: there is none.
    """

    kind: str
    icon: str
    what: str
    why: str
    look: tuple[str, str] = ("", "")


def display_state(release: dict[str, Any]) -> str:
    """Return the state that a reader sees: a full stop is told from a pause."""
    state: str = release["state"]
    return "stopped" if release["stopped"] and state not in OVER else state


def chip(release: dict[str, Any]) -> Chip:
    """Return the chip of a release's state."""
    return Chip(*CHIPS[display_state(release)])


def audience(segments: list[str], percentage: float) -> str:
    """Return who a stage opens to: "25 % of everyone", "10 % of logged-out"."""
    if not segments:
        return "everyone" if percentage >= 100 else f"{words.percent(percentage)} of everyone"
    who = " and ".join(segments)
    return who if percentage >= 100 else f"{words.percent(percentage)} of {who}"


def open_to(release: dict[str, Any]) -> str:
    """Return everyone to whom a release is open, or was when it was killed or ended."""
    if release["closed"] or not release["openings"]:
        return "nobody"
    parts = [audience(each["segments"], each["percentage"]) for each in release["openings"]]
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def open_now(release: dict[str, Any]) -> str:
    """Return who has the treatment from a release now, also behind a kill and after its end."""
    match release["state"]:
        case "completed":
            return "everyone"
        case "rolled_back" | "killed":
            return "nobody"
    return open_to(release)


def notches(release: dict[str, Any]) -> tuple[float, ...]:
    """Return where stages open to everyone, in percent."""
    return tuple(
        stage["percentage"] for stage in release["policy"]["stages"] if not stage["segments"]
    )


def status(
    release: dict[str, Any],
    forecast: dict[str, Any] | None,
    now: datetime,
    zone: tzinfo,
    live: int | None = None,
    went_back_from: float | None = None,
) -> Status:
    """Return the sentence of a release.

    Args:
        release: as the API answers it.
        forecast: its forecast; None: none was asked for.
        now: the time of the page.
        zone: the reader's.
        live: how many processes report; None: not asked.
        went_back_from: the percentage before it went back one stage; None: it did not.
    """
    shown = chip(release)
    what, why, look = _said(release, forecast, now, zone, live)
    if went_back_from is not None and release["state"] in ("running", "holding"):
        what = (
            f"Went back from {words.percent(went_back_from)} to {open_to(release)}, to have a "
            "control group again."
        )
    kind = shown.kind if shown.kind != "kill" else "bad"
    if shown.kind == "run" and any(g["kind"] in ("harm", "value") for g in missing_gates(release)):
        kind = "warn"
    return Status("" if kind == "draft" else kind, shown.icon, what, why.strip(), look)


def _said(
    release: dict[str, Any],
    forecast: dict[str, Any] | None,
    now: datetime,
    zone: tzinfo,
    live: int | None,
) -> tuple[str, str, tuple[str, str]]:
    """Return what is, what follows it, and where to look."""
    reason = (
        _quoted(release) if _is_by_person(release) else reason_words(release["reason"], release)
    )
    open_now, nowhere = open_to(release), ("", "")
    match display_state(release):
        case "draft":
            measured = _operations(release, "control")
            first = release["policy"]["stages"][0]
            opens = audience(first["segments"], first["percentage"])
            what = f"Measures, nobody is open: {words.count(measured)} operations so far."
            return what, f"It opens to {opens} when a person begins it.", nowhere
        case "completed":
            what = f"Completed{_when(release, now, zone)}: everyone got {release['treatment']}."
            return what, _outcome(release) or reason, nowhere
        case "rolled_back":
            by = "the policy" if release["state_by"] == "policy" else release["state_by"]
            what = f"Rolled back{f' by {by}' if by else ''}{_when(release, now, zone)}."
            why = f"{reason} Everyone gets {release['control']} since."
            return what, why, nowhere
        case "killed":
            what = f"Killed while open to {open_now}: everyone gets the kill variant."
            return what, f"{_who(release)}{reason} A restore leaves the release paused.", nowhere
        case "paused":
            what = f"Paused at {open_now}{_with_actor(release)}."
            return what, f"{reason} A rollback still happens.", nowhere
        case "stopped":
            what = f"Full stop at {open_now}{_with_actor(release)}: not even a rollback happens."
            return what, f"{reason} Nothing automatic happens until somebody resumes it.", nowhere
        case "cooldown":
            return *_cooling(release, now, zone), nowhere
        case "awaiting_approval":
            return *_waiting(release, now, zone), nowhere
        case "holding":
            return _holding(release, now, zone, live)
        case "baking":
            why = still_needs(release, now, zone) or reason_words(_reason(release), release)
            what = f"Everyone has it{_baked(release)}."
            return what, f"{why} {_next(release, forecast, now, zone)}", nowhere
    if not release["progress"]:
        every = words.duration(Duration().deserialize(release["policy"]["interval"]))
        why = f"The policy has not looked at it yet; it does every {every}."
        return f"Open to {open_now}.", why, nowhere
    needs = still_needs(release, now, zone) or reason_words(_reason(release), release)
    what = f"Open to {open_now}, and {_speaks(release)}"
    return what, f"{needs} {_next(release, forecast, now, zone)}", nowhere


def _when(release: dict[str, Any], now: datetime, zone: tzinfo) -> str:
    ended = release["ended_at"]
    return f" at {_clock(ended, now, zone)}" if ended else ""


def _outcome(release: dict[str, Any]) -> str:
    """Return what a completed release has counted, in a sentence."""
    progress = release["progress"]
    if not progress:
        return ""
    with_it, without = progress["treatment"], progress["control"]
    failed = words.rate(with_it["errors"], with_it["outcomes"])
    if not without["outcomes"]:
        return f"{failed} of {words.count(with_it['outcomes'])} operations failed with it."
    other = words.rate(without["errors"], without["outcomes"])
    return (
        f"{failed} of {words.count(with_it['outcomes'])} operations failed with "
        f"{release['treatment']}, {other} with {release['control']}."
    )


def _operations(release: dict[str, Any], arm: str) -> float:
    counts = (release["progress"] or {}).get(arm) or {}
    return float(counts.get("outcomes", 0))


def _who(release: dict[str, Any]) -> str:
    by = release["state_by"]
    return f"By {by}: " if by and spoken(release["reason"], by) else f"By {by}." if by else ""


def _is_by_person(release: dict[str, Any]) -> bool:
    """Return whether a person brought the release into its state."""
    return release.get("state_by", "policy") not in ("", "policy")


def _quoted(release: dict[str, Any]) -> str:
    """Return what the person said who brought the release into its state; empty: nothing."""
    said = spoken(release["reason"], release["state_by"])
    return f"\u201c{said}\u201d." if said else ""


def spoken(reason: str, actor: str) -> str:
    """Return the reason that a person gave; empty where the API has put only their name."""
    return "" if reason.rstrip(".").endswith(f" by {actor}") else reason


def _with_actor(release: dict[str, Any]) -> str:
    if release["state_by"] == "policy":
        return " by the policy"
    return f" by {release['state_by']}" if release["state_by"] else ""


def _cooling(release: dict[str, Any], now: datetime, zone: tzinfo) -> tuple[str, str]:
    until = release["cooldown_until"]
    again = f", tries again at about {_clock(until, now, zone)}" if until else ""
    tries = release["policy"]["rollback"]["max_retries"]
    why = reason_words(release["reason"], release)
    left = f"with the same users; {release['retries']} of {tries} tries are used."
    return f"Cooling down, open to {open_to(release)}{again}.", f"{why} It tries again {left}"


def _waiting(release: dict[str, Any], now: datetime, zone: tzinfo) -> tuple[str, str]:
    stage = _present_stage(release)
    needed, given = (stage["approval"] or {}).get("count", 1), release["approvals"]
    gate = next((each for each in missing_gates(release) if each["kind"] == "approvals"), None)
    by = f", by {_clock(gate['until'], now, zone)}" if gate and gate["until"] else ""
    what = (
        f"Open to {open_to(release)}, has passed everything and waits for "
        f"{needed - len(given)} of {needed} approvals{by}."
    )
    agreed = [
        f"{each['actor']} agreed at {_clock(each['at'], now, zone)}"
        + (f": \u201c{each['comment']}\u201d." if each["comment"] else ".")
        for each in given
    ]
    return what, " ".join(agreed) or reason_words(release["reason"], release)


LOOK_AT_INSTANCES = ("instances", "Look at the processes")
LOOK_AT_FLAG = ("flags", "Look at the flag")


def _holding(
    release: dict[str, Any], now: datetime, zone: tzinfo, live: int | None
) -> tuple[str, str, tuple[str, str]]:
    """Return which silence it is, or else why the release is held."""
    at = f"Holding at {open_to(release)}"
    silence = (release["progress"] or {}).get("silence")
    if silence is None:
        return f"{at}.", reason_words(_reason(release), release), ("", "")
    span = words.duration((now - words.parse_instant(silence["since"])).total_seconds() * 1000)
    if silence["kind"] == "one_arm":
        quiet = release[silence["arm"]]
        what = f"{at}: no operation with {quiet} has ended for {span}."
        return what, "Those with the other variant go on.", LOOK_AT_INSTANCES
    if silence["kind"] == "no_outcomes":
        what = f"{at}: people ask for the flag, and no operation has ended for {span}."
        why = "Operations do not end, or their processes stopped reporting."
        return what, why, LOOK_AT_INSTANCES
    if live == 0:
        what = f"{at}: no process has reported for {span}."
        why = "The applications are down or do not reach this server; what fails is not counted."
        return what, why, LOOK_AT_INSTANCES
    what = f"{at}: nobody asked for the flag for {span}."
    reports = f"All {live:,} processes report" if live and live > 1 else "Processes report"
    why = (
        f"{reports}, so the traffic is missing, not the reports. It goes on by itself when people "
        "come."
    )
    return what, why, LOOK_AT_FLAG


def _present_stage(release: dict[str, Any]) -> dict[str, Any]:
    stage: dict[str, Any] = release["policy"]["stages"][release["stage"]["number"] - 1]
    return stage


def _baked(release: dict[str, Any]) -> str:
    """Return how long it has been healthy for everyone, of the time that it needs."""
    gates = (release["progress"] or {}).get("gates", [])
    time = next((gate for gate in gates if gate["kind"] == "time"), None)
    if time is None or not time["need"]:
        return ""
    have, need = (words.duration(1000 * (time[name] or 0)) for name in ("have", "need"))
    return f", healthy for {have} of {need}"


def _speaks(release: dict[str, Any]) -> str:
    """Return what speaks against a running release, or that too few have come, or nothing."""
    gates = missing_gates(release)
    if any(gate["kind"] in ("harm", "value") for gate in gates):
        return "something speaks against it."
    few = next((gate for gate in gates if gate["kind"] == "samples"), None)
    if few is not None:
        have, need = words.count(few["have"] or 0), words.count(few["need"])
        return f"too few have come: {have} of {need} operations."
    return "nothing speaks against it."


def _reason(release: dict[str, Any]) -> str:
    """Return the reason of the last decision while the policy decides, else of the state."""
    progress = release["progress"] or {}
    decision = progress.get("last_decision")
    deciding = release["state"] in ("running", "baking", "holding") and not release["stopped"]
    text: str = decision["reason"] if deciding and decision else release["reason"]
    return text


def _next(
    release: dict[str, Any], forecast: dict[str, Any] | None, now: datetime, zone: tzinfo
) -> str:
    """Return what a forecast says: about when the next stage opens."""
    if not forecast or not forecast.get("rehearsals"):
        return ""
    following = forecast["next_stage"]
    what = "the next stage opens"
    if following is None:
        following, what = forecast["completed"], "it completes"
    if following is None:
        return ""
    early, median, late = following["early"], following["median"], following["late"]
    if median is None:
        if forecast["stopped"] > 0.5:
            return (
                f"At this pace it is rolled back: so ended {round(100 * forecast['stopped'])} of "
                "100 rehearsals."
            )
        return "At this pace it takes very long."
    sentence = f"At this pace {what} {_about(median, now, zone)}"
    if late is None:
        return f"{sentence}, or much later."
    if words.parse_instant(late) - words.parse_instant(early) <= timedelta(hours=1):
        return f"{sentence}, nine times of ten {_by(late, now, zone)}."
    return f"At this pace {what} in {_span(early, late, now)}."


SOON = timedelta(minutes=2)
"""Below this a time is said as how long it takes."""


def _about(text: str, now: datetime, zone: tzinfo) -> str:
    at = words.parse_instant(text)
    if at - now < SOON:
        return f"in about {words.duration(max((at - now).total_seconds() * 1000, 1_000))}"
    return f"at about {words.clock(at, now, zone)}"


def _by(text: str, now: datetime, zone: tzinfo) -> str:
    at = words.parse_instant(text)
    if at - now < SOON:
        return f"within {words.duration(max((at - now).total_seconds() * 1000, 1_000))}"
    return f"by {words.clock(at, now, zone)}"


def _span(early: str, late: str, now: datetime) -> str:
    first = (words.parse_instant(early) - now).total_seconds() * 1000
    last = (words.parse_instant(late) - now).total_seconds() * 1000
    return f"{words.duration(max(first, 0))} to {words.duration(last)}"


def _clock(text: str, now: datetime, zone: tzinfo) -> str:
    return words.clock(words.parse_instant(text), now, zone)
