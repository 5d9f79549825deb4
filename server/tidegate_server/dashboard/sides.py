"""Who changes sides by an edit, before it is saved: in a sentence, and for one flag as bars."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flask import Response, make_response, render_template
from markupsafe import Markup

from tidegate_server.dashboard import words
from tidegate_server.dashboard.charts.rollout_bar import sides_bar

MOST_MOVES = 8


@dataclass(frozen=True, slots=True)
class SidesRow:
    """One bar: what it is about, and how many get the variant."""

    name: str
    bar: Markup
    says: str
    more: str = ""


@dataclass(frozen=True, slots=True)
class Sides:
    """What a preview says.

    Attributes:
        what: who changes sides, in one sentence.
        moves: from where to where, each as a sentence.
        rows: the bars; empty: the preview is not about one flag, or nobody was seen.
        caveats: what the sample cannot tell.
    """

    what: str
    moves: tuple[str, ...]
    rows: tuple[SidesRow, ...]
    caveats: tuple[str, ...]


def sides(preview: Mapping[str, Any], flag: str = "", off: str = "") -> Sides:
    """Return a preview in words.

    Args:
        preview: as the API answers it.
        flag: the flag that is edited; empty: something else, such as a segment.
        off: its off variant; the bars are about another one.
    """
    seen, changed = preview["seen"], preview["changed"]
    people = "1 person" if seen == 1 else f"{words.count(seen)} people"
    if not seen:
        what = "Nobody was seen in the last hour, so nobody knows who changes sides."
    elif not changed:
        what = f"None of {people} seen in the last hour changes sides."
    else:
        verb = "changes" if changed == 1 else "change"
        what = f"{words.count(changed)} of {people} seen in the last hour {verb} sides."
    moves = [_move(each, flag) for each in preview["by"]]
    if len(moves) > MOST_MOVES:
        moves[MOST_MOVES:] = [f"{len(moves) - MOST_MOVES} more kinds of moves."]
    elif changed and changed < seen:
        moves.append("The others keep what they have.")
    return Sides(what, tuple(moves), _rows(preview, flag, off), tuple(preview["caveats"]))


def _move(move: Mapping[str, Any], flag: str) -> str:
    was, becomes = (move[end] or "the application's default" for end in ("from", "to"))
    of = "" if move["flag"] == flag else f"{move['flag']}: "
    verb = "goes" if move["count"] == 1 else "go"
    return f"{of}{words.count(move['count'])} {verb} from {was} to {becomes}."


def _rows(preview: Mapping[str, Any], flag: str, off: str) -> tuple[SidesRow, ...]:
    seen = preview["seen"]
    of_flag = [
        each for each in preview["variants"] if each["flag"] == flag and each["variant"] is not None
    ]
    if not seen or not of_flag:
        return ()
    shown = max(of_flag, key=lambda each: (each["variant"] != off, each["before"] + each["after"]))
    before, after, variant = shown["before"], shown["after"], shown["variant"]
    change = after - before
    more = f", {words.count(abs(change))} {'more' if change > 0 else 'fewer'}" if change else ""
    of = words.count(seen)
    return (
        SidesRow(
            "now",
            sides_bar(before, before, seen, f"{words.count(before)} of {of} get {variant} now"),
            f"{words.count(before)} {variant}",
        ),
        SidesRow(
            "saved",
            sides_bar(before, after, seen, f"{words.count(after)} of {of} get {variant} then"),
            f"{words.count(after)} {variant}",
            more,
        ),
    )


def sides_part(found: Sides | None, problem: str = "") -> Response:
    """Return the part of a form that shows who changes sides, for the script that asks for it."""
    return make_response(render_template("sides.html", sides=found, sides_problem=problem))
