"""How much speaks against a release: a needle on a logarithmic scale up to the limit."""

from __future__ import annotations

import math

from markupsafe import Markup

from tidegate_server.dashboard import words

LOW = 0.1
AT_LIMIT = 88.0
"""Where the limit stands, in percent of the width."""

ACTS = Markup('<text class="lim wide" x="100%" y="14" text-anchor="end">{}</text>')

NOT_OPENING = 5.0
"""From this evidence on, no stage opens (``decisions``' limit of caution)."""


def position(value: float, limit: float) -> float:
    """Return where evidence stands, in percent of the width."""
    if value <= LOW:
        return 1.0
    share = math.log(value / LOW) / math.log(limit / LOW)
    return min(max(share * AT_LIMIT, 1.0), 99.0)


def evidence_gauge(
    value: float, limit: float, *, does: str = "rolls back", not_opening: float = NOT_OPENING
) -> Markup:
    """Return the gauge.

    Args:
        value: the evidence of harm.
        limit: the evidence at which the check fails.
        does: what the failed check does.
        not_opening: the evidence from which on no stage opens.
    """
    no, at = position(not_opening, limit), position(value, limit)
    label = (
        f"Evidence against it {words.number(value)}; at {words.number(limit)} it {does}, "
        f"from {words.number(not_opening)} on nothing opens"
    )
    ticks = Markup("").join(
        Markup('<text x="{:.2f}%" y="48" text-anchor="{}">{}</text>').format(
            position(each, limit), "start" if each == LOW else "middle", words.number(each)
        )
        for each in (LOW, 1.0, not_opening)
    )
    return Markup(
        '<svg class="gauge" height="52" role="img" aria-label="{label}">'
        '<rect class="fill-bg" y="22" width="100%" height="10" rx="5"/>'
        '<rect class="zone-no" x="{no:.2f}%" y="22" width="{wide:.2f}%" height="10"/>'
        '<rect x="{no:.2f}%" y="22" width="{wide:.2f}%" height="10" fill="url(#hatch-w)"/>'
        '<rect class="zone-bad" x="88%" y="22" width="12%" height="10" rx="3"/>{ticks}'
        '<text class="lim" x="88%" y="48" text-anchor="middle">{limit}</text>'
        "{acts}"
        "{opens}"
        '<line class="at" x1="{at:.3f}%" x2="{at:.3f}%" y1="17" y2="37"/>'
        '<text class="v" x="{at:.3f}%" y="12" text-anchor="{anchor}">{value}</text></svg>'
    ).format(
        label=label,
        no=no,
        wide=AT_LIMIT - no,
        ticks=ticks,
        limit=words.number(limit),
        opens=_does_not_open((no + AT_LIMIT) / 2) if at < no else "",
        at=at,
        acts=ACTS.format(does) if at < 72 else "",
        anchor="start" if at < 6 else "end" if at > 94 else "middle",
        value=words.number(value),
    )


def _does_not_open(x: float) -> Markup:
    return Markup(
        '<text class="wide" x="{:.2f}%" y="14" text-anchor="middle">does not open</text>'
    ).format(x)
