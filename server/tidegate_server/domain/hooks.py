"""Hooks: URLs for alerts of a monitoring system, and what an alert may do to which flags."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from tidegate_server.domain import release_state_machine
from tidegate_server.domain.release import Release
from tidegate_server.domain.release_state_machine import Initiator


class AlertKind(StrEnum):
    """The monitoring system whose alerts a hook parses."""

    ALERTMANAGER = "alertmanager"
    DATADOG = "datadog"
    GRAFANA = "grafana"
    GENERIC = "generic"


class HookAction(StrEnum):
    """What a firing alert does to the hook's flags."""

    HOLD = "hold"
    ROLLBACK = "rollback"
    KILL = "kill"


@dataclass(frozen=True, slots=True)
class Hook:
    """A URL to which a monitoring system sends its alerts.

    Attributes:
        id: part of the URL.
        name: the actor in the audit log.
        environment, flags: where it acts, and on which flags.
        digest: hex HMAC-SHA256 of its secret; the secret is not stored.
        enabled: whether it acts; a disabled hook only responds with how it parsed the alert.
    """

    id: str
    name: str
    kind: AlertKind
    action: HookAction
    environment: str
    flags: tuple[str, ...]
    digest: str
    created_by: str
    created_ms: int
    enabled: bool = True
    description: str = ""

    @property
    def actor(self) -> str:
        """The name of the hook as an actor in the audit log."""
        return f"hook {self.name} ({self.id})"


def pause_by_alert(release: Release, at_ms: int, reason: str) -> Release:
    """Pause a release as a person would, until a person resumes it.

    Raises:
        NotPossible: the release is paused or stopped already, or its state does not allow it.
    """
    return release_state_machine.pause(release, at_ms, reason, by=Initiator.PERSON)


def roll_back_by_alert(release: Release, at_ms: int, reason: str) -> Release:
    """Roll a release back as the policy would, so a full stop or a kill prevents it.

    Raises:
        NotPossible: the release is under a full stop, or its state does not allow it.
    """
    return release_state_machine.roll_back(release, at_ms, reason, by=Initiator.POLICY)
