"""What documents may say; every problem is named by a pointer into what the client wrote."""

from __future__ import annotations

from tidegate_server.domain.change import Guard
from tidegate_server.domain.contents import Contents
from tidegate_server.domain.flags import FlagDefinition, SegmentDefinition, Targeting
from tidegate_server.domain.policy import Policy
from tidegate_server.domain.release import Release


def check_definition(definition: FlagDefinition) -> None:
    """Refuse a flag that cannot be; raises ``Invalid``."""


def check_definition_change(
    before: FlagDefinition, after: FlagDefinition, contents: Contents
) -> None:
    """Refuse what would break the flag's targetings and releases; raises ``Invalid``."""


def check_targeting(
    definition: FlagDefinition, targeting: Targeting, contents: Contents, environment: str
) -> None:
    """Refuse a targeting that cannot be; raises ``Invalid``."""


def check_released_rule(targeting: Targeting, release: Release) -> None:
    """Refuse a targeting that takes the ground from under its active release."""


def check_segment(segment: SegmentDefinition, contents: Contents) -> None:
    """Refuse a segment that cannot be; raises ``Invalid``."""


def check_policy(policy: Policy, contents: Contents) -> None:
    """Refuse a policy that cannot be carried out; raises ``Invalid``."""


def check_key(key: str, pointer: str = "/key") -> None:
    """Refuse a key that is not made of small letters, digits, dots, hyphens, underscores."""


def users_of_flag(contents: Contents, key: str) -> list[str]:
    """What would break without the flag, in words."""
    return []


def users_of_segment(contents: Contents, key: str) -> list[str]:
    """What would break without the segment, in words."""
    return []


def rests_on(contents: Contents, environment: str, targeting: Targeting) -> list[Guard]:
    """Guards on the segments and flags that a targeting names."""
    return []


def segment_rests_on(contents: Contents, segment: SegmentDefinition) -> list[Guard]:
    """Guards on the segments that a segment names."""
    return []
