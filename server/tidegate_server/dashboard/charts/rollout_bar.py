"""The bar that shows who gets the treatment: linear, from nobody to everyone."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from markupsafe import Markup

from tidegate_server.dashboard import words

RECT = Markup('<rect class="{}" x="{:.3f}%" width="{:.3f}%" height="{}" rx="{}"/>')


@lru_cache(maxsize=4_096)
def rollout_bar(
    share: float,
    says: str,
    *,
    notches: tuple[float, ...] = (),
    height: int = 8,
    killed: bool = False,
) -> Markup:
    """Return the bar.

    Args:
        share: who gets the treatment, in percent of everyone.
        says: the sentence that stands for the bar where it is not seen.
        notches: where stages open, in percent.
        height: in pixels.
        killed: the whole bar is hatched: a kill decides.
    """
    parts = [RECT.format("fill-k" if killed else "fill-c", 0, 100, height, height / 2)]
    if killed:
        parts.append(
            Markup('<rect width="100%" height="{}" rx="{}" fill="url(#hatch)"/>').format(
                height, height / 2
            )
        )
    elif share > 0:
        parts.append(RECT.format("fill-t", 0, share, height, height / 2))
        if share < 100:
            parts.append(
                Markup('<rect class="fill-surface" x="{:.3f}%" width="2" height="{}"/>').format(
                    share, height
                )
            )
    if not killed:
        parts.extend(
            Markup('<line class="notch" x1="{0:.3f}%" x2="{0:.3f}%" y1="0" y2="{1}"/>').format(
                each, height
            )
            for each in notches
            if 0 < each < 100 and abs(each - share) > 0.5
        )
    kind = "bar tall" if height > 8 else "bar"
    return Markup('<svg class="{}" height="{}" role="img" aria-label="{}">{}</svg>').format(
        kind, height, says, Markup("").join(parts)
    )


def release_bar(
    release: Mapping[str, Any], share: float, notches: tuple[float, ...], height: int = 8
) -> Markup:
    """Return the bar of a release, as the API answers it; the arguments are as of the other bar."""
    killed = release["state"] == "killed"
    says = "everyone gets the kill variant" if killed else share_label(share, release["treatment"])
    return rollout_bar(share, says, notches=notches, height=height, killed=killed)


def share_label(share: float, variant: str) -> str:
    """Return a bar's sentence."""
    if share <= 0:
        return f"nobody gets {variant}"
    if share >= 100:
        return f"everyone gets {variant}"
    return f"{words.percent(share)} of everyone get {variant}"


def sides_bar(before: int, after: int, whole: int, says: str) -> Markup:
    """Return the bar of those who get a variant; those who change sides are outlined.

    Args:
        before, after: how many get it now, and how many would.
        whole: how many there are.
        says: the sentence that stands for the bar where it is not seen.
    """
    height = 14
    stay, either = 100 * min(before, after) / whole, 100 * max(before, after) / whole
    parts = [RECT.format("fill-c", 0, 100, height, 3), RECT.format("fill-t", 0, stay, height, 3)]
    if either > stay:
        parts.append(
            Markup('<rect class="fill-new" x="{:.3f}%" y="1" width="{:.3f}%" height="12"/>').format(
                stay, either - stay
            )
        )
    return Markup('<svg class="bar tall" height="{}" role="img" aria-label="{}">{}</svg>').format(
        height, says, Markup("").join(parts)
    )
