"""One flag: who gets what, what decides it, and what came before."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from flask import Blueprint, Response, request

from tidegate_server.dashboard import api, flag_sentences, rule_sentences, shell, words
from tidegate_server.dashboard.audit_sentences import AuditLine, audit_line
from tidegate_server.dashboard.charts.evaluations_chart import Evaluations, evaluations_chart
from tidegate_server.dashboard.charts.plot import Mark
from tidegate_server.dashboard.charts.prerequisite_graph import Node, prerequisite_graph
from tidegate_server.dashboard.charts.scales import Span
from tidegate_server.dashboard.markdown import markdown
from tidegate_server.dashboard.object_history import latest_changes_of_flag
from tidegate_server.dashboard.pages.flags import active_release, state_of
from tidegate_server.domain.permissions import Permission

STEPS: Final = {
    "minute": ("a minute, last hour", "last hour", timedelta(minutes=1)),
    "hour": ("an hour, last 60 hours", "last 60 hours", timedelta(hours=1)),
    "day": ("a day, last 60 days", "last 60 days", timedelta(days=1)),
}
"""The steps of the chart of evaluations: what it shows, in words, and how long a step is."""

MOST_NEEDED_BY = 50
MOST_CHANGES = 8


def register(blueprint: Blueprint) -> None:
    """Add the pages of this module."""
    flag = "/p/<key:project>/e/<key:environment>/flags/<key:flag>"
    blueprint.add_url_rule(flag, view_func=show_flag)


def show_flag(project: str, environment: str, flag: str) -> Response:
    """Show what a flag serves, and what decides it."""
    frame = shell.open_place(project, environment, "flags")
    definition = api.get("projects", project, "flags", flag)
    targeting = api.get(*_targeting(project, environment, flag))
    release = active_release(project, environment, targeting)
    state = state_of(definition, targeting, release)
    others = [
        (place, state_of(definition, found, active_release(project, place.environment, found)))
        for place in frame.places
        if place.environment != environment
        and (found := api.get_if_allowed(*_targeting(project, place.environment, flag)))
    ]
    treatment = release["treatment"] if release else None
    graph, needs, needed_by = _prerequisites(project, environment, targeting)
    unmet = [each for each in needs if not each["holds"]]
    changes = _history(project, environment, flag, release)
    return shell.render(
        "flag.html",
        frame,
        flag=definition,
        base=f"/p/{project}/e/{environment}/flags/{flag}",
        targeting=targeting,
        release=release,
        state=flag_sentences.without_prerequisites(state, targeting, unmet),
        others=others,
        rungs=flag_sentences.rungs(targeting, unmet),
        rules=[
            (
                rule["id"],
                rule_sentences.condition(rule["when"], project),
                rule_sentences.serve(rule["serve"], treatment),
            )
            for rule in targeting["rules"]
        ],
        default=rule_sentences.serve(targeting["default"], treatment),
        history=changes,
        reads_log=api.reader().holds(Permission.READ, project, None),
        evaluated=flag_sentences.evaluated(targeting["evaluated"], shell.now()),
        stale=targeting["stale"],
        evaluations=_evaluations(
            *(project, environment, flag),
            flag_sentences.charted_variant(definition, targeting, release, state),
            changes,
        ),
        prerequisites=(graph, needs, needed_by),
        reach=_reach(project, environment, flag),
        uses=api.get_if_allowed("projects", project, "flags", flag, "code-references"),
        description=markdown(definition["description"]),
        steps=tuple(STEPS),
        variant=rule_sentences.variant,
        plain=rule_sentences.plain,
    )


def _targeting(project: str, environment: str, flag: str) -> tuple[str, ...]:
    return ("projects", project, "environments", environment, "flags", flag)


def _prerequisites(
    project: str, environment: str, targeting: dict[str, Any]
) -> tuple[Any, list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the drawing, what the flag needs, and what needs it."""
    needs = []
    for each in targeting["prerequisites"]:
        where = _targeting(project, environment, each["flag"])
        definition = api.get_if_allowed("projects", project, "flags", each["flag"])
        found = api.get_if_allowed(*where)
        state = None
        if definition is not None and found is not None:
            state = state_of(definition, found, active_release(project, environment, found))
        # Where a release or a rule decides, some may get what is needed and others not.
        serves = state is not None and (state.variant in each["variants"] or 0 < state.share < 100)
        needs.append({**each, "state": state, "holds": serves})
    where = _targeting(project, environment, targeting["flag"])
    needed_by = api.get(*where, "dependents", limit=MOST_NEEDED_BY)["items"]
    if not needs and not needed_by:
        return None, needs, needed_by
    graph = prerequisite_graph(
        targeting["flag"],
        [Node(each["flag"], each["holds"]) for each in needs],
        [Node(each["flag"], holds=True) for each in needed_by],
    )
    return graph, needs, needed_by


def _reach(project: str, environment: str, flag: str) -> dict[str, Any] | None:
    """Return the version that last changed what the flag serves, and how far it has come."""
    where = _targeting(project, environment, flag)
    anyone = {"context": {"targetingKey": "anyone"}}
    found = api.ask("POST", api.path(*where, "evaluate"), body=anyone).body
    version = found["metadata"].get("flagVersion")
    place = ("projects", project, "environments", environment)
    receipt = version and api.get_if_allowed(*place, "receipts", str(version))
    return {"version": version, "receipt": receipt} if version else None


def _evaluations(
    project: str, environment: str, flag: str, shown: str, changes: list[AuditLine]
) -> dict[str, Any]:
    """Return the chart, its sentence, the same as a table, and who asks."""
    step = request.args.get("step", "minute")
    step = step if step in STEPS else "minute"
    title, last, length = STEPS[step]
    found = api.get(*_targeting(project, environment, flag), "evaluations", step=step)
    points = [
        Evaluations(
            words.parse_instant(each["at"]),
            each["by_variant"].get(shown, 0),
            sum(each["by_variant"].values()) - each["by_variant"].get(shown, 0) + each["defaults"],
        )
        for each in found["points"]
    ]
    shape: dict[str, Any] = {
        "step": step,
        "title": title,
        "last": last,
        "chart": None,
        "askers": [
            (each["application"] or "an application without a name", each["last_at"])
            for each in found["askers"][:5]
        ],
    }
    total = sum(each.shown + each.others for each in points)
    if not total:
        return shape
    span = Span(points[0].at, points[-1].at + length)
    mine = sum(each.shown for each in points)
    times = "1 evaluation" if total == 1 else f"{words.count(total)} evaluations"
    says = f"{times} in the {last}, {words.count(mine)} with {shown}"
    marks = [
        Mark(at, "\u270e", "", line.did)
        for line in changes
        if (at := words.parse_instant(line.at)) > span.start
    ]
    variants = sorted({key for each in found["points"] for key in each["by_variant"]})
    return {
        **shape,
        "chart": evaluations_chart(points, span, marks, shell.reader_zone(), says),
        "says": says,
        "variants": variants,
        "counts": [
            (key, sum(each["by_variant"].get(key, 0) for each in found["points"]))
            for key in variants
        ],
        "rows": [
            (
                each["at"],
                [each["by_variant"].get(key, 0) for key in variants],
                each["defaults"],
            )
            for each in reversed(found["points"])
            if any(each["by_variant"].values()) or each["defaults"]
        ],
    }


def _history(
    project: str, environment: str, flag: str, release: dict[str, Any] | None
) -> list[AuditLine]:
    """Return the latest changes of a flag, here and in its definition.

    They are of the audit log; of the flag's own versions for those who may not read the log.
    """
    noted = latest_changes_of_flag(project, environment, flag)
    if noted is not None:
        return noted[:MOST_CHANGES]
    documents = (("projects", project, "flags", flag), _targeting(project, environment, flag))
    found = [
        audit_line({**version, "target": flag, "environment": "", "details": {}})
        for where in documents
        for version in api.get(*where, "history", limit=MOST_CHANGES)["items"]
        if version["action"]
    ]
    if release is not None and release["stage"]["number"] > 1:
        stage = release["stage"]
        did = f"Stage {stage['number']} of {stage['of']} of the release opened"
        at = release["stage_entered_at"]
        found.append(AuditLine("move", "advance", "", did, "", "", at, "", release["id"]))
    # One change of a flag and its targeting is a version of both.
    latest = {(line.at, line.who, line.did): line for line in found}
    return sorted(latest.values(), key=lambda line: line.at, reverse=True)[:MOST_CHANGES]
