"""Hooks: what an alert of a monitoring system may do, and to which flags. Nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from tidegate_server.domain import release_state_machine
from tidegate_server.domain.release import Release
from tidegate_server.domain.release_state_machine import Initiator


class AlertKind(StrEnum):
    """Whose payloads a hook understands."""

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
    """An address that a monitoring system posts its alerts to.

    Attributes:
        id: stands in the address.
        name: who the audit log says did what the hook does.
        environment, flags: where it acts, and on which flags.
        digest: hex HMAC-SHA256 of its secret; the secret is not kept.
        enabled: whether it acts; one that does not still says what it understood.
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
        """How the audit log names it."""
        return f"hook {self.name} ({self.id})"


def paused_by_alert(release: Release, at_ms: int, reason: str) -> Release:
    """Hold a release as a person would: it stays paused until a person lets it go on.

    Raises:
        NotPossible: it is paused, stopped or killed already, or there is nothing to hold.
    """
    return release_state_machine.pause(release, at_ms, reason, by=Initiator.PERSON)


def rolled_back_by_alert(release: Release, at_ms: int, reason: str) -> Release:
    """End a release with the control for everyone.

    An alert is nobody: it has the policy's rights, so that a person's full stop and a kill
    stand above it.

    Raises:
        NotPossible: the state, or a person, does not allow it.
    """
    return release_state_machine.roll_back(release, at_ms, reason, by=Initiator.POLICY)
