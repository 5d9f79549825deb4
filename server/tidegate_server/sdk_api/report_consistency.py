"""What must hold between the numbers of one report, which a JSON Schema cannot say.

It holds for every SDK that counts an operation when it ends: its exposure, its outcome and its
error at once.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

from tidegate_server.errors import FieldProblem, Invalid
from tidegate_server.sdk_api.report_schemas import MAX_SAMPLED, MAX_USERS
from tidegate_server.store.reports import Report

MAX_BUCKETS = 20_000
"""How many buckets the values of one report have at most."""


MAX_VARIANTS = 20_000
"""How many variants the evaluations of one report have at most."""


def check_consistency(report: Report) -> None:
    """Check the numbers of a report against each other.

    Raises:
        Invalid: with the pointer of each number that cannot be true.
    """
    found = tuple(_problems(report))
    if found:
        first, *others = found
        more = f" ({len(others)} more in errors.)" if others else ""
        raise Invalid(f"Nothing was counted. {first.pointer}: {first.detail}{more}", *found)


def _problems(report: Report) -> Iterator[FieldProblem]:
    yield from _repetitions(report.counts, "/counts", lambda each: (each.step, each.stratum))
    yield from _repetitions(
        report.failing, "/failing", lambda each: (each.step, each.stratum, each.arm)
    )
    yield from _repetitions(report.samples, "/samples", lambda each: (each.step, each.stratum))
    yield from _repetitions(
        report.values, "/values", lambda each: (each.step, each.stratum, each.measure)
    )
    yield from _repetitions(report.trips, "/trips", lambda each: ())
    evaluations = [(each.flag, each) for each in report.evaluations]
    yield from _repetitions(evaluations, "/evaluations", lambda each: ())
    yield from _impossible_counts(report)
    yield from _too_many_failing_users(report)
    yield from _wrong_samples(report)
    named = sum(len(failing.users) for _, failing in report.failing)
    if named > MAX_USERS:
        yield FieldProblem(
            "/failing",
            f"A report names at most {MAX_USERS} failing users; this one names {named}. "
            "Count the others as overflow.",
        )
    variants = sum(len(each.variants) for each in report.evaluations)
    if variants > MAX_VARIANTS:
        yield FieldProblem(
            "/evaluations",
            f"The evaluations of a report have at most {MAX_VARIANTS} variants; these have "
            f"{variants}. Leave out what has not changed since the last acknowledged report.",
        )
    buckets = sum(len(each.control) + len(each.treatment) for _, each in report.values)
    if buckets > MAX_BUCKETS:
        yield FieldProblem(
            "/values", f"A report has at most {MAX_BUCKETS} buckets; this one has {buckets}."
        )


def _repetitions(
    entries: Sequence[tuple[str, Any]], pointer: str, place: Callable[[Any], Hashable]
) -> Iterator[FieldProblem]:
    if len(entries) < 2:  # as in most reports
        return
    seen: set[Hashable] = set()
    for number, (release, entry) in enumerate(entries):
        key = (release, place(entry))
        if key in seen:
            yield FieldProblem(
                f"{pointer}/{number}", "This repeats an earlier entry; send one for each group."
            )
        seen.add(key)


def _impossible_counts(report: Report) -> Iterator[FieldProblem]:
    for number, (_, group) in enumerate(report.counts):
        for arm, counts in (("control", group.control), ("treatment", group.treatment)):
            if counts.outcomes > counts.exposures:
                yield FieldProblem(
                    f"/counts/{number}/{arm}/outcomes",
                    f"There are {counts.outcomes} outcomes of {counts.exposures} exposures; "
                    "count an operation's exposure with its outcome or before it.",
                )
            if counts.errors > counts.outcomes:
                yield FieldProblem(
                    f"/counts/{number}/{arm}/errors",
                    f"There are {counts.errors} errors among {counts.outcomes} outcomes; "
                    "errors must not exceed outcomes.",
                )


def _too_many_failing_users(report: Report) -> Iterator[FieldProblem]:
    if not report.failing:
        return
    errors = {
        (release, group.step, group.stratum, arm): counts.errors
        for release, group in report.counts
        for arm, counts in (("control", group.control), ("treatment", group.treatment))
    }
    for number, (release, failing) in enumerate(report.failing):
        users = len(set(failing.users)) + failing.overflow
        most = errors.get((release, failing.step, failing.stratum, failing.arm), 0)
        if users > most:
            yield FieldProblem(
                f"/failing/{number}/users",
                f"There are {users} failing users, overflow included, but counts has {most} "
                "errors for this group and arm; every failing user has at least one error.",
            )


def _wrong_samples(report: Report) -> Iterator[FieldProblem]:
    if not report.samples:
        return
    sampled = sum(len(each.control) + len(each.treatment) for _, each in report.samples)
    if sampled > MAX_SAMPLED:
        yield FieldProblem(
            "/samples",
            f"The samples of a report have at most {MAX_SAMPLED} users; these have {sampled}. "
            "Take one more bit in the largest of them.",
        )
    outcomes = {
        (release, group.step, group.stratum): (group.control.outcomes, group.treatment.outcomes)
        for release, group in report.counts
    }
    for number, (release, sample) in enumerate(report.samples):
        pointer = f"/samples/{number}"
        most = outcomes.get((release, sample.step, sample.stratum), (0, 0))
        arms = (("control", sample.control, most[0]), ("treatment", sample.treatment, most[1]))
        for arm, users, ended in arms:
            wrong = [place for place, user in enumerate(users) if user % 2**sample.bits]
            if wrong:
                yield FieldProblem(
                    f"{pointer}/{arm}/{wrong[0]}",
                    f"{users[wrong[0]]} does not end in {sample.bits} zero bits, so it does not "
                    f"belong to the sample; drop what does not match when you take one more bit.",
                )
            if len(set(users)) > ended:
                yield FieldProblem(
                    f"{pointer}/{arm}",
                    f"There are {len(set(users))} users, but counts has {ended} outcomes for this "
                    "group and arm; every user of the sample has at least one outcome.",
                )
        both = set(sample.control).intersection(sample.treatment)
        if both:
            yield FieldProblem(
                pointer,
                f"{min(both)} is in both arms; name a user in the arm of the first outcome only.",
            )
