"""What is left to do after a release, in the code and elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

from tidegate_server.domain.ladder import Cause, Rung
from tidegate_server.domain.release import LIVE_STATES, Release, State

ENDS = {Cause.KILL: "restored", Cause.DISABLED: "switched on"}
"""What ends the causes for which everyone gets one variant."""


@dataclass(frozen=True, slots=True)
class FlagUse:
    """What a release's flag does at present.

    Attributes:
        served: pairs of an environment and a variant that the flag can serve there.
        releases: environments in which it has an active release.
        ladder: what decides now what it serves in the release's environment; empty: the flag
            does not exist any more.
        serves: what the release's rule (or the default rule) serves there, as text; None:
            there is no such rule any more.
        client_side: whether it is available to clients.
    """

    served: tuple[tuple[str, str], ...] = ()
    releases: tuple[str, ...] = ()
    ladder: tuple[Rung, ...] = ()
    serves: str | None = None
    client_side: bool = False


@dataclass(frozen=True, slots=True)
class CleanupStep:
    """One step of what follows a release: a sentence, and whether nothing of it is left to do."""

    text: str
    done: bool = False


def cleanup(release: Release, environment: str, flag_use: FlagUse) -> list[CleanupStep]:
    """Return what is left to do, in the code and elsewhere, after what is done of it.

    Args:
        release: as it is now.
        environment: where it runs.
        flag_use: what its flag does at present.
    """
    if release.state in LIVE_STATES:
        return []
    if not flag_use.ladder:
        text = f"Flag {release.flag} does not exist any more in {environment}."
        return [CleanupStep(text, done=True)]
    won = release.treatment if release.state is State.COMPLETED else release.control
    steps = [_served_now(release, environment, flag_use, won)]
    first = flag_use.ladder[0]
    if first.cause in ENDS:
        text = f"Everyone gets {first.serves} at present: the flag is {first.text}."
        steps.append(CleanupStep(text))
    others = [
        f"{place} can serve {variant}" for place, variant in flag_use.served if variant != won
    ]
    running = [f"{place} has an active release" for place in flag_use.releases]
    if others or running:
        why = "; ".join([*others, *running])
        steps.append(CleanupStep(f"The code still needs both variants: {why}. Change these first."))
    if flag_use.serves == won:
        steps.append(CleanupStep(_code(release)))
    return steps


def _served_now(release: Release, environment: str, flag_use: FlagUse, won: str) -> CleanupStep:
    where = f"rule {release.rule} of {release.flag}" if release.rule else release.flag
    if flag_use.serves == won:
        ends = ENDS.get(flag_use.ladder[0].cause)
        when = "now" if ends is None else f"once the flag is {ends}"
        return CleanupStep(f"In {environment} {where} serves {won} {when}.", done=ends is None)
    if flag_use.serves is None:
        now = "somebody has removed this rule since"
    else:
        now = f"somebody has changed it since: it serves {flag_use.serves} now"
    return CleanupStep(f"When the release ended, {where} served {won} in {environment}; {now}.")


def _code(release: Release) -> str:
    flag, treatment, control = release.flag, release.treatment, release.control
    if release.state is State.COMPLETED:
        return (
            f"In the code: keep what {treatment} does, remove what {control} did together with "
            f"the call that evaluates {flag}, and then delete the flag."
        )
    return (
        f"In the code: fix what {treatment} does and start another release, or remove it "
        f"together with the call that evaluates {flag}, and then delete the flag."
    )
