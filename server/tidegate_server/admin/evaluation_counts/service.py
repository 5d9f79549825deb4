"""Read how often flags are evaluated, and which of them are stale."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from tidegate_server.admin.document_reader import read_environment, read_project
from tidegate_server.domain.calendar import DAY_MS
from tidegate_server.domain.change import Stored
from tidegate_server.domain.code_references import FlagInCode, ProjectCode
from tidegate_server.domain.flags import FlagDefinition, Targeting
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.project_documents import flag_address, targeting_address
from tidegate_server.domain.projects import Project
from tidegate_server.domain.stale import (
    NO_OTHERS,
    UNUSED,
    FlagPlace,
    OtherFlags,
    Stale,
    flags_around,
    stale,
)
from tidegate_server.errors import FieldProblem
from tidegate_server.store import Store
from tidegate_server.store.evaluations import (
    STEPS,
    AskedFlag,
    Asker,
    Evaluated,
    EvaluationPoint,
    UnknownFlag,
)

MOST_POINTS = 1_000
"""How many points of a series one answer has at most."""

DEFAULT_POINTS = 60

NAMED_ASKERS = 3
"""How many applications a sentence names."""


@dataclass(frozen=True, slots=True)
class EvaluatedIn:
    """When a flag was last evaluated in one environment."""

    environment: str
    last_ms: int | None
    bulk_ms: int | None


@dataclass(frozen=True, slots=True)
class FlagWithActivity(Stored):
    """A flag's definition as stored, with where it was evaluated and whether it is stale."""

    evaluated: tuple[EvaluatedIn, ...]
    stale: Stale | None
    warnings: tuple[FieldProblem, ...] = ()


@dataclass(frozen=True, slots=True)
class EvaluationSeries:
    """The evaluations of a flag over time, and who asked."""

    step: str
    points: Sequence[EvaluationPoint]
    askers: Sequence[Asker]


def asked_flag(flag: FlagDefinition) -> AskedFlag:
    """Return what to read the evaluations of a flag by."""
    variants = tuple(variant.key for variant in flag.variants)
    return AskedFlag(flag.key, variants, flag.client_side)


def targeting_activity(
    store: Store, project: str, environment: str, targetings: Sequence[Stored]
) -> list[tuple[Evaluated, Stale | None]]:
    """Return how flags were evaluated in an environment, and whether they are stale there."""
    if not targetings:
        return []
    keys = [each.document.flag for each in targetings]
    definitions = _definitions(store, project, keys)
    now_ms = store.now_ms()
    evaluated = _evaluated(store, project, environment, definitions, now_ms)
    verdicts = stale_targetings(store, project, environment, targetings, definitions, now_ms)
    return [(evaluated.get(key, Evaluated()), verdicts.get(key)) for key in keys]


def evaluated_flags(
    store: Store, project: str, environment: str, keys: Sequence[str]
) -> dict[str, Evaluated]:
    """Return how flags were evaluated in an environment, by flag."""
    definitions = _definitions(store, project, keys)
    return _evaluated(store, project, environment, definitions, store.now_ms())


def _definitions(store: Store, project: str, keys: Sequence[str]) -> dict[str, Stored]:
    found = store.get_many(project, [flag_address(key) for key in keys])
    return {each.document.key: each for each in found if each is not None}


def _evaluated(
    store: Store, project: str, environment: str, definitions: Mapping[str, Stored], now_ms: int
) -> dict[str, Evaluated]:
    known = [asked_flag(each.document) for each in definitions.values()]
    found = store.evaluations.evaluated(project, environment, known, now_ms)
    return dict(zip(definitions, found, strict=True))


def stale_targetings(
    store: Store,
    project: str,
    environment: str,
    targetings: Iterable[Stored],
    definitions: Mapping[str, Stored],
    now_ms: int,
) -> dict[str, Stale]:
    """Return why flags are stale in an environment, by flag; those that are not are left out.

    Args:
        store, project, environment: where.
        targetings: what the flags serve there.
        definitions: the flags by key; one that is not among them is not stale.
        now_ms: store clock.
    """
    stored_project = _project(store, project)
    known = [asked_flag(each.document) for each in definitions.values()]
    asked = store.evaluations.asked(project, [environment], known)[environment]
    around = _Around(store, project, definitions)
    found: dict[str, Stale] = {}
    for targeting in targetings:
        key = targeting.document.flag
        if key not in definitions:
            continue
        place = FlagPlace(
            environment,
            targeting.document,
            targeting.updated_ms,
            asked.since_ms,
            asked.last_ms(key),
        )
        verdict = around.stale(definitions[key], [place], now_ms, stored_project)
        if verdict is not None:
            found[key] = verdict
    return found


def flag_activity(
    store: Store, project: str, flags: Sequence[Stored], *, warn: bool = False
) -> list[FlagWithActivity]:
    """Return flags with where they were evaluated, and whether they are stale.

    Args:
        store: where they are.
        project: their project.
        flags: the definitions.
        warn: whether to warn of archived flags that applications ask for.
    """
    if not flags:
        return []
    environments = sorted(store.keys(project, Kind.ENVIRONMENT))
    asked_flags = [asked_flag(each.document) for each in flags]
    asked = store.evaluations.asked(project, environments, asked_flags)
    found = _targetings(store, project, environments, [flag.key for flag in asked_flags])
    stored_project = _project(store, project)
    now_ms = store.now_ms()
    around = _Around(store, project, [each.key for each in asked_flags])
    result = []
    for definition in flags:
        flag: FlagDefinition = definition.document
        places = [
            FlagPlace(
                environment,
                targeting.document,
                targeting.updated_ms,
                asked[environment].since_ms,
                asked[environment].last_ms(flag.key),
            )
            for environment in environments
            if (targeting := found[environment].get(flag.key)) is not None
        ]
        evaluated = tuple(
            EvaluatedIn(
                environment,
                asked[environment].alone_ms.get(flag.key),
                asked[environment].bulk_ms.get(flag.key),
            )
            for environment in environments
            if asked[environment].last_ms(flag.key) is not None
        )
        warnings: tuple[FieldProblem, ...] = ()
        if warn and flag.archived is not None:
            since_ms = now_ms - stored_project.deletable_after_days * DAY_MS
            warnings = still_asked(store, project, environments, flag.key, since_ms)
        result.append(
            FlagWithActivity(
                flag,
                definition.revision,
                definition.updated_ms,
                evaluated,
                around.stale(definition, places, now_ms, stored_project),
                warnings,
            )
        )
    return result


def still_asked(
    store: Store, project: str, environments: Iterable[str], flag: str, since_ms: int
) -> tuple[FieldProblem, ...]:
    """Return one warning for each environment whose applications have asked for a flag.

    Args:
        store: where the counts are.
        project, environments: where to look.
        flag: the flag's key.
        since_ms: how long ago counts.
    """
    warnings = []
    now_ms = store.now_ms()
    for environment in environments:
        askers = store.evaluations.askers(project, environment, flag)
        recent = [asker for asker in askers if asker.last_ms > since_ms]
        if recent:
            names = ", ".join(repr(asker.application) for asker in recent[:NAMED_ASKERS])
            more = len(recent) - NAMED_ASKERS
            others = f" and {more} more" if more > 0 else ""
            ago = ago_text(now_ms - recent[0].last_ms)
            warnings.append(
                FieldProblem(
                    "/archived",
                    f"Asked for in {environment} by {names}{others}, the last time {ago} ago.",
                )
            )
    return tuple(warnings)


def lately_asked(
    store: Store, project: str, environments: Iterable[str], flag: str
) -> tuple[str, ...]:
    """Return who asked for a flag within the project's ``deletable_after_days``, in sentences."""
    since_ms = store.now_ms() - _project(store, project).deletable_after_days * DAY_MS
    return tuple(each.detail for each in still_asked(store, project, environments, flag, since_ms))


def ago_text(milliseconds: int) -> str:
    """Return a length of time in one unit: ``20 s``, ``5 min``, ``3 h``, ``12 d``."""
    seconds = max(0, milliseconds) // 1000
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


def evaluation_series(
    store: Store,
    project: str,
    environment: str,
    key: str,
    step: str,
    from_ms: int | None,
    to_ms: int | None,
) -> EvaluationSeries:
    """Return the evaluations of a flag over time.

    Args:
        store, project, environment: where.
        key: the flag.
        step: one of ``STEPS``.
        from_ms, to_ms: the first and the last moment; None: the last ``DEFAULT_POINTS`` steps.
            Of more than ``MOST_POINTS`` steps, the last ones are given.
    """
    read_environment(store, project, environment)
    definition = store.get(project, flag_address(key))
    flag = AskedFlag(key, ()) if definition is None else asked_flag(definition.document)
    length_ms = STEPS[step].seconds * 1000
    now_ms = store.now_ms()
    last = min(now_ms if to_ms is None else to_ms, now_ms) // length_ms
    first = last - DEFAULT_POINTS + 1 if from_ms is None else from_ms // length_ms
    oldest = (now_ms - STEPS[step].kept_seconds * 1000) // length_ms
    numbers = range(max(first, oldest, last - MOST_POINTS + 1), last + 1)
    points = store.evaluations.series(project, environment, flag, step, numbers)
    return EvaluationSeries(step, points, store.evaluations.askers(project, environment, key))


def unknown_flags(store: Store, project: str, environment: str) -> dict[str, UnknownFlag]:
    """Return the flags that do not exist and applications have asked for, by key."""
    read_environment(store, project, environment)
    known = set(store.keys(project, Kind.FLAG))
    return {
        each.key: each
        for each in store.evaluations.unknown(project, environment)
        if each.key not in known
    }


class _Around:
    """What the other flags and the code say, read when it matters.

    Args:
        store, project: where the flags are.
        flags: the flags to look at.
    """

    def __init__(self, store: Store, project: str, flags: Collection[str]) -> None:
        self._store = store
        self._project = project
        self._flags = flags
        self._others: OtherFlags | None = None
        self._code: ProjectCode | None = None

    def stale(
        self, flag: Stored, places: Sequence[FlagPlace], now_ms: int, project: Project
    ) -> Stale | None:
        """Return why a flag is stale; None if it is not."""

        def verdict(others: OtherFlags) -> Stale | None:
            return stale(
                flag.document,
                flag.updated_ms,
                places,
                now_ms=now_ms,
                after_days=project.stale_after_days,
                others=others,
                code=self._code_of(flag.document.key),
            )

        found = verdict(NO_OTHERS)
        has_prerequisites = any(place.targeting.prerequisites for place in places)
        if has_prerequisites or (found is not None and found.reason in UNUSED):
            return verdict(self._read())
        return found

    def _code_of(self, flag: str) -> FlagInCode | None:
        if self._code is None:
            store, project = self._store, self._project
            branches = store.code_references.branches(project, store.now_ms())
            self._code = store.code_references.project_code(project, branches, self._flags)
        return self._code.of(flag) if self._code.is_known else None

    def _read(self) -> OtherFlags:
        if self._others is None:
            store, project = self._store, self._project
            stored = store.cached(project, Kind.FLAG).stored
            flags = {key: each.document for key, each in stored.items()}
            targetings: list[Targeting] = [
                each.document
                for environment in store.keys(project, Kind.ENVIRONMENT)
                for each in store.cached(project, Kind.TARGETING, environment).stored.values()
            ]
            self._others = flags_around(flags, targetings)
        return self._others


def _targetings(
    store: Store, project: str, environments: Sequence[str], flags: Sequence[str]
) -> dict[str, Mapping[str, Stored]]:
    """Return what flags serve, by environment and flag."""
    if len(flags) > 1:
        return {
            environment: store.cached(project, Kind.TARGETING, environment).stored
            for environment in environments
        }
    [flag] = flags
    found = store.get_many(project, [targeting_address(each, flag) for each in environments])
    return {
        environment: {} if stored is None else {flag: stored}
        for environment, stored in zip(environments, found, strict=True)
    }


def _project(store: Store, project: str) -> Project:
    document: Project = read_project(store, project).document
    return document
