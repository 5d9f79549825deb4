"""Conditions that every context meets, or none, whatever its attributes."""

from __future__ import annotations

from collections.abc import Mapping

from tidegate.model import All, AnyOf, Condition, InSegment, NoneOf

from tidegate_server.domain.change import Stored
from tidegate_server.domain.flags import SegmentDefinition


def always_holds(condition: Condition, segments: Mapping[str, Stored]) -> bool:
    """Return whether every context meets a condition, as far as its form shows.

    Args:
        condition: a valid condition.
        segments: the project's segments, none of which contains itself.
    """
    match condition:
        case All(parts):
            return all(always_holds(part, segments) for part in parts)
        case AnyOf(parts):
            return any(always_holds(part, segments) for part in parts)
        case NoneOf(parts):
            return all(never_holds(part, segments) for part in parts)
        case InSegment(key):
            return key in segments and contains_everyone(segments[key].document, segments)
    return False


def never_holds(condition: Condition, segments: Mapping[str, Stored]) -> bool:
    """Return whether no context meets a condition; arguments as for ``always_holds``."""
    match condition:
        case All(parts):
            return any(never_holds(part, segments) for part in parts)
        case AnyOf(parts):
            return all(never_holds(part, segments) for part in parts)
        case NoneOf(parts):
            return any(always_holds(part, segments) for part in parts)
        case InSegment(key):
            return key not in segments or _contains_nobody(segments[key].document, segments)
    return False


def contains_everyone(segment: SegmentDefinition, segments: Mapping[str, Stored]) -> bool:
    """Return whether every context is in a segment; arguments as for ``always_holds``."""
    return (
        segment.when is not None and not segment.excluded and always_holds(segment.when, segments)
    )


def _contains_nobody(segment: SegmentDefinition, segments: Mapping[str, Stored]) -> bool:
    return not segment.included and (segment.when is None or never_holds(segment.when, segments))
