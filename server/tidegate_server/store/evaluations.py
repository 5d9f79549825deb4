"""How often flags were evaluated, when last, and who asked.

``reports.lua`` writes the counts, with ``evaluations.lua``; a change of the configuration writes
nothing here. What is kept has bounds: see ``Limits`` and ``STEPS``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from tidegate_server.domain.evidence import Source
from tidegate_server.store import keys
from tidegate_server.store.connection import Command, Connection

MINUTE, HOUR, DAY = 60, 3_600, 86_400


@dataclass(frozen=True, slots=True)
class Step:
    """A length of time that evaluations are counted in, and how long the counts are kept."""

    seconds: int
    kept_seconds: int


STEPS: Final[Mapping[str, Step]] = {
    "minute": Step(MINUTE, 3 * HOUR),
    "hour": Step(HOUR, 8 * DAY),
    "day": Step(DAY, 100 * DAY),
}

RATE_MINUTES = 5
"""Of how many whole minutes a rate is the mean."""

SHARE_HOURS = 24
"""Of how many hours, the present one included, the evaluations by variant are shown."""

ESTIMATED = "~"
"""Stands for a variant in the field that says that counts of a flag are an estimate."""

SINCE = "|"
"""The field that says since when evaluations are counted; no flag has this key."""

DEFAULT = ""
"""Stands for the application's own default where a variant is expected."""


@dataclass(frozen=True, slots=True)
class VariantEvaluations:
    """One variant of a flag: when it was last served (ms), and how often in ``SHARE_HOURS``."""

    last_ms: int | None
    count: int


@dataclass(frozen=True, slots=True)
class Evaluated:
    """How a flag was evaluated in one environment.

    Attributes:
        last_ms: when it was last asked for, to about half a minute; None: never.
        bulk_ms: when it was last evaluated together with all other flags; None: never.
        per_minute: evaluations per minute, the mean of the last ``RATE_MINUTES``.
        estimated: whether counts are estimates.
        by_variant: of the variants that were ever served; ``DEFAULT``: the application's own
            default.
    """

    last_ms: int | None = None
    bulk_ms: int | None = None
    per_minute: float = 0.0
    estimated: bool = False
    by_variant: Mapping[str, VariantEvaluations] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Asked:
    """When flags were last asked for in one environment, in ms.

    Attributes:
        since_ms: since when evaluations are counted here; None: none was ever reported.
        alone_ms: by flag, when it was asked for by its key; flags that never were are missing.
        bulk_ms: by flag, when it was last evaluated together with all others.
    """

    since_ms: int | None
    alone_ms: Mapping[str, int]
    bulk_ms: Mapping[str, int]

    def last_ms(self, flag: str) -> int | None:
        """Return when a flag was last asked for in either way; None: never."""
        times = [each[flag] for each in (self.alone_ms, self.bulk_ms) if flag in each]
        return max(times, default=None)


@dataclass(frozen=True, slots=True)
class Asker:
    """An application, when it last asked for a flag (ms), and on which host; empty: unknown."""

    application: str
    last_ms: int
    host: str


@dataclass(frozen=True, slots=True)
class EvaluationPoint:
    """The evaluations of one flag in one step of time, which begins at ``at_ms``."""

    at_ms: int
    by_variant: Mapping[str, int]
    estimated: bool


@dataclass(frozen=True, slots=True)
class UnknownFlag:
    """A flag that does not exist, and was asked for."""

    key: str
    last_ms: int
    application: str


@dataclass(frozen=True, slots=True)
class AskedFlag:
    """A flag to read the evaluations of.

    Attributes:
        key: its key.
        variants: its variants.
        client_side: whether clients may evaluate it.
    """

    key: str
    variants: tuple[str, ...]
    client_side: bool = False

    @property
    def served(self) -> tuple[str, ...]:
        """What it may have served: its variants, and ``DEFAULT`` last."""
        return (*self.variants, DEFAULT)

    @property
    def fields(self) -> list[str]:
        """The fields of what it may have served."""
        return [f"{self.key}|{variant}" for variant in self.served]

    def bulk_ms(self, bulk: Sequence[bytes | None]) -> int | None:
        """Return when it was last evaluated with all others, from the times of each ``Source``."""
        by_servers, by_clients = (int(value or 0) for value in bulk)
        return max(by_servers, by_clients if self.client_side else 0) or None


class EvaluationStore:
    """The evaluations of every environment."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def evaluated(
        self, project: str, environment: str, flags: Sequence[AskedFlag], now_ms: int
    ) -> list[Evaluated]:
        """Return how flags were evaluated, in two readings for all of them.

        The second one is only of what was ever served: of most flags, one variant or none.

        Args:
            project, environment: where.
            flags: which ones.
            now_ms: store clock.
        """
        if not flags:
            return []
        fields = [name for flag in flags for name in flag.fields]
        seen = keys.evaluated(project, environment)
        last, variants, bulk = self._connection.read_many(
            [
                ("HMGET", seen, *(flag.key for flag in flags)),
                ("HMGET", seen, *fields),
                ("HMGET", keys.bulk_evaluations(project, environment), *Source),
            ]
        )
        last_ms = {field: int(at) for field, at in zip(fields, variants, strict=True) if at}
        marks = [
            f"{flag.key}|{ESTIMATED}"
            for flag in flags
            if any(field in last_ms for field in flag.fields)
        ]
        by_minute, by_hour = self._counts(project, environment, [*last_ms, *marks], now_ms)
        found = []
        for flag, flag_last in zip(flags, last, strict=True):
            mark = f"{flag.key}|{ESTIMATED}"
            served = {
                name: field
                for name, field in zip(flag.served, flag.fields, strict=True)
                if field in last_ms
            }
            found.append(
                Evaluated(
                    _number(flag_last),
                    flag.bulk_ms(bulk),
                    sum(by_minute[field] for field in served.values()) / RATE_MINUTES,
                    bool(by_minute.get(mark) or by_hour.get(mark)),
                    {
                        name: VariantEvaluations(last_ms[field], by_hour[field])
                        for name, field in served.items()
                    },
                )
            )
        return found

    def _counts(
        self, project: str, environment: str, fields: Sequence[str], now_ms: int
    ) -> tuple[dict[str, int], dict[str, int]]:
        """Return the sums of fields over the last whole minutes, and over the last hours."""
        if not fields:
            return {}, {}
        minute, hour = now_ms // 1000 // MINUTE, now_ms // 1000 // HOUR
        minutes = range(minute - RATE_MINUTES, minute)
        hours = range(hour - SHARE_HOURS + 1, hour + 1)

        def at(step: str, number: int) -> Command:
            return ("HMGET", keys.evaluations_at(project, environment, step, number), *fields)

        steps = self._connection.read_many(
            [
                *(at("minute", number) for number in minutes),
                *(at("hour", number) for number in hours),
            ]
        )
        by_minute, by_hour = (
            {
                field: sum(int(count or 0) for count in counts)
                for field, counts in zip(fields, zip(*each, strict=True), strict=True)
            }
            for each in (steps[:RATE_MINUTES], steps[RATE_MINUTES:])
        )
        return by_minute, by_hour

    def asked(
        self, project: str, environments: Sequence[str], flags: Sequence[AskedFlag]
    ) -> dict[str, Asked]:
        """Return when flags were last asked for in each environment, in one reading."""
        names = [SINCE, *(flag.key for flag in flags)]
        found = self._connection.read_many(
            command
            for environment in environments
            for command in (
                ("HMGET", keys.evaluated(project, environment), *names),
                ("HMGET", keys.bulk_evaluations(project, environment), *Source),
            )
        )
        return {
            environment: _asked(flags, times, bulk)
            for environment, times, bulk in zip(environments, found[::2], found[1::2], strict=True)
        }

    def last_of_any(self, project: str, environment: str) -> int | None:
        """Return when any flag was last asked for in an environment (ms); None: never."""
        found = self._scan(keys.evaluated(project, environment), "*")
        found.pop(SINCE, None)
        bulk = self._connection.read("HVALS", keys.bulk_evaluations(project, environment))
        return max(map(int, [*found.values(), *bulk]), default=None)

    def askers(self, project: str, environment: str, flag: str) -> list[Asker]:
        """Return which applications asked for a flag, the latest first."""
        prefix = f"{flag}|"
        fields = self._scan(keys.askers(project, environment), f"{prefix}*")
        found = []
        for name, value in fields.items():
            at_ms, _, host = value.decode().partition(" ")
            found.append(Asker(name.removeprefix(prefix), int(at_ms), host))
        return sorted(found, key=lambda asker: (-asker.last_ms, asker.application))

    def series(
        self, project: str, environment: str, flag: AskedFlag, step: str, numbers: Sequence[int]
    ) -> list[EvaluationPoint]:
        """Return the evaluations of a flag in each step of time.

        Args:
            project, environment: where.
            flag: which one.
            step: one of ``STEPS``.
            numbers: which steps, counted from the epoch.
        """
        found = self._connection.read_many(
            (
                "HMGET",
                keys.evaluations_at(project, environment, step, number),
                *flag.fields,
                f"{flag.key}|{ESTIMATED}",
            )
            for number in numbers
        )
        return [
            EvaluationPoint(
                number * STEPS[step].seconds * 1000,
                {name: int(each) for name, each in zip(flag.served, counts, strict=False) if each},
                counts[-1] is not None,
            )
            for number, counts in zip(numbers, found, strict=True)
        ]

    def unknown(self, project: str, environment: str) -> list[UnknownFlag]:
        """Return the flags that do not exist and were asked for, the latest first."""
        found, askers = self._connection.read_many(
            [
                ("ZREVRANGE", keys.unknown_flags(project, environment), 0, -1, "WITHSCORES"),
                ("HGETALL", keys.unknown_askers(project, environment)),
            ]
        )
        return [
            UnknownFlag(key.decode(), int(float(at_ms)), askers.get(key, b"").decode())
            for key, at_ms in zip(found[::2], found[1::2], strict=True)
        ]

    def note_bulk(self, project: str, environment: str, source: Source, now_ms: int) -> None:
        """Note that all flags were evaluated at once, for an application or for a client."""
        key = keys.bulk_evaluations(project, environment)
        self._connection.write_many(
            [
                ("HSET", key, source, now_ms),
                ("HSETNX", keys.evaluated(project, environment), SINCE, now_ms),
            ]
        )

    def forget(self, project: str, environments: Iterable[str], flag: str) -> None:
        """Forget how a flag was evaluated: another one may get its key."""
        for environment in environments:
            evaluated = keys.evaluated(project, environment)
            if not self._connection.read("HEXISTS", evaluated, flag):
                continue
            variants = [*self._scan(evaluated, f"{flag}|*")]
            askers = keys.askers(project, environment)
            commands: list[Command] = [
                ("HDEL", name, *variants, f"{flag}|{ESTIMATED}")
                for name in self._series(project, environment)
            ]
            if found := list(self._scan(askers, f"{flag}|*")):
                commands.append(("HDEL", askers, *found))
            self._connection.write_many([*commands, ("HDEL", evaluated, flag, *variants)])

    def _series(self, project: str, environment: str) -> list[str]:
        """Return the keys of all steps of time that are kept."""
        seconds, _ = self._connection.read("TIME")
        return [
            keys.evaluations_at(project, environment, name, number)
            for name, step in STEPS.items()
            for number in range(
                int(seconds) // step.seconds - step.kept_seconds // step.seconds,
                int(seconds) // step.seconds + 1,
            )
        ]

    def _scan(self, key: str, pattern: str) -> dict[str, bytes]:
        """Return the fields of a hash that fit a pattern, in bounded steps."""
        fields = self._connection.scan_fields(key, 1_000, pattern)
        return {name.decode(): value for name, value in fields}


def _asked(
    flags: Sequence[AskedFlag], times: Sequence[bytes | None], bulk: Sequence[bytes | None]
) -> Asked:
    since, *alone = times
    in_bulk = {flag.key: flag.bulk_ms(bulk) for flag in flags}
    return Asked(
        _number(since),
        {flag.key: int(at) for flag, at in zip(flags, alone, strict=True) if at is not None},
        {key: at_ms for key, at_ms in in_bulk.items() if at_ms is not None},
    )


def _number(value: bytes | None) -> int | None:
    return None if value is None else int(value)
