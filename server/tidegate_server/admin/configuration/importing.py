"""Plans an import, and makes it. Both run in a child process, as they may take seconds."""

from __future__ import annotations

import gc
import hashlib
import json
import secrets
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import msgspec
from tidegate import wire
from tidegate.seen_users import user_name

from tidegate_server.admin.commit_with_retry import commit_with_retry
from tidegate_server.admin.configuration.export import read_whole_project
from tidegate_server.admin.configuration.parsing import (
    ParsedConfiguration,
    hidden_url_problems,
    parse_configuration,
    project_problems,
    with_present_urls,
)
from tidegate_server.admin.document_reader import read_project
from tidegate_server.admin.evaluation_counts.earlier_flags import last_asked
from tidegate_server.admin.evaluation_counts.service import lately_asked
from tidegate_server.admin.hooks.service import require_its_permission
from tidegate_server.admin.presented_documents import changed_fields
from tidegate_server.admin.previews.schemas import PreviewAnswer
from tidegate_server.domain.calendar import DAY_MS
from tidegate_server.domain.callers import Caller
from tidegate_server.domain.change import Audit, Change, ChangedDocument, Delete, Put, Refresh
from tidegate_server.domain.configuration import Configuration, ImportPlan, ImportProblem
from tidegate_server.domain.flags import Archived, FlagDefinition, Targeting
from tidegate_server.domain.import_plan import plan_import
from tidegate_server.domain.json_differences import ABSENT, Difference, difference_text
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.network_addresses import AllowedNetworks
from tidegate_server.domain.permissions import Permission
from tidegate_server.domain.project_documents import ProjectDocuments, targeting_address
from tidegate_server.domain.projects import Project
from tidegate_server.domain.webhooks import Webhook
from tidegate_server.errors import FieldProblem, Invalid, StaleRevision, StoreUnavailable
from tidegate_server.store import Store
from tidegate_server.web.access_control import require_permission
from tidegate_server.whatif.who_changes_sides import Preview, who_changes_sides

ID_BYTES = 16

MAY_BE_MADE = (
    "The import may have been made, all of it or nothing. Send the same request again to find out: "
    "what was made is not made twice."
)

MAX_PROBLEMS = 1_000
"""How many problems an answer names."""

DOCUMENTS_IN_ENTRY = 100
BYTES_IN_ENTRY = 256_000
"""An entry of the audit log has at most so many documents, or so many bytes of JSON about them;
an import that changes more adds several entries."""


@dataclass(frozen=True, slots=True)
class ImportRequest:
    """A request to plan or make an import.

    Attributes:
        project: the project's key.
        text: the configuration in JSON.
        caller: who asks.
        reason: why.
        networks: where webhooks may be.
        address: where the request comes from, for the audit log.
        names_secrets: what the names of seen users are made with, by environment.
    """

    project: str
    text: str
    caller: Caller
    reason: str
    networks: AllowedNetworks
    address: str
    names_secrets: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Planned:
    """A plan with what it was made from."""

    documents: ProjectDocuments
    parsed: ParsedConfiguration
    plan: ImportPlan
    digest: str


def plan(store: Store, request: ImportRequest) -> bytes:
    """Return what an import would change, as the JSON of ``PlanAnswer``.

    Raises:
        Unreadable, Invalid, NotFound, Forbidden: as ``apply`` raises them.
    """
    with _without_collections():
        planned = _plan(store, request, parse_configuration(request.text))
        answer = _answer(store, request, planned)
        for affected in answer["affected"]:
            preview = _who_changes_sides(store, request, planned, affected["environment"])
            affected["users"] = None if preview is None else PreviewAnswer().dump(preview)
        return json.dumps(answer, ensure_ascii=False).encode()


def apply(store: Store, request: ImportRequest) -> bytes:
    """Make an import in one change, and return the JSON of ``ApplyAnswer``.

    Raises:
        Unreadable: the text is not JSON, or is ambiguous.
        Invalid: the configuration has problems; nothing was changed.
        NotFound: there is no such project.
        Forbidden: the caller may not change one of the documents.
        StaleRevision: it would change something else than the plan that the caller has seen.
        StoreUnavailable: the import may have been made; a repetition makes it once at most.
    """
    with _without_collections():
        parsed = parse_configuration(request.text)
    answer = None

    def make_change() -> Change:
        nonlocal answer
        planned = _plan(store, request, parsed)
        _check(planned, request)
        # Before the commit, as it shows what is now and what will be.
        answer = _answer(store, request, planned)
        change = planned.plan.change
        return _nothing(planned) if change is None else _audited(change, planned, request)

    with _without_collections():
        try:
            committed = commit_with_retry(store, make_change)
        except StoreUnavailable as error:
            raise StoreUnavailable(f"{error.message} {MAY_BE_MADE}") from error
    assert answer is not None
    shown = {**answer, "versions": dict(committed.versions)}
    return json.dumps(shown, ensure_ascii=False).encode()


@contextmanager
def _without_collections() -> Iterator[None]:
    """Let the garbage collector wait: it would look through a million live objects again and again.

    Nothing here makes cycles that would take much memory.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _nothing(planned: _Planned) -> Change:
    return Change(scope=planned.documents.project, writes=())


def _plan(store: Store, request: ImportRequest, parsed: ParsedConfiguration) -> _Planned:
    stored = read_project(store, request.project)
    documents = read_whole_project(store, request.project)
    wanted = with_present_urls(parsed.wanted, documents)
    found = [
        *parsed.problems,
        *project_problems(parsed, request.project, stored.document),
        *hidden_url_problems(wanted),
        *_unreadable_environments(parsed, request),
    ]
    if found:
        # What could not be read would look like something that is missing elsewhere.
        plan = ImportPlan((), (), tuple(found), None)
    else:
        plan = plan_import(
            documents,
            wanted,
            actor=request.caller.name,
            now_ms=store.now_ms(),
            reason=request.reason,
            networks=request.networks,
            new_secret_id=lambda: secrets.token_hex(ID_BYTES),
            still_asked=_still_asked(store, documents, wanted, stored.document),
        )
    return _Planned(documents, parsed, plan, _digest(plan))


def _still_asked(
    store: Store, documents: ProjectDocuments, wanted: Configuration, project: Project
) -> dict[str, tuple[str, ...]]:
    """Return who lately asked for the flags that the import would delete."""
    if not wanted.prune or wanted.flags is None:
        return {}
    flags = sorted(documents.flags.keys() - wanted.flags.keys())
    since_ms = store.now_ms() - project.deletable_after_days * DAY_MS
    environments = list(documents.environments)
    asked = last_asked(store, documents.project, environments, flags)
    lately = (key for key, at_ms in asked if at_ms > since_ms)
    return {
        key: lately_asked(store, documents.project, documents.environments, key)
        for key in dict.fromkeys(lately)
    }


def _unreadable_environments(
    parsed: ParsedConfiguration, request: ImportRequest
) -> Iterator[ImportProblem]:
    """Yield a problem for each environment whose targeting the caller may not even see."""
    named: dict[str, str] = {}
    for key, wanted in (parsed.wanted.flags or {}).items():
        for environment in wanted.targetings:
            named.setdefault(environment, key)
    for environment, key in named.items():
        if not request.caller.allows(Permission.READ, request.project, environment):
            message = f"You may not read environment {environment!r}; leave it out."
            address = targeting_address(environment, key)
            yield ImportProblem(address, FieldProblem("", message))


def _check(planned: _Planned, request: ImportRequest) -> None:
    problems = planned.plan.problems
    if problems:
        fields = [
            FieldProblem(
                planned.parsed.pointer(each), each.problem.detail, each.problem.suggestions
            )
            for each in problems[:MAX_PROBLEMS]
        ]
        first, more = fields[0], len(problems) - 1
        others = f" ({more:,} more in errors.)" if more else ""
        where = first.pointer or "the body"
        raise Invalid(f"Nothing was changed. {where}: {first.detail}{others}", *fields)
    seen = planned.parsed.plan
    # Nothing is left to change if the import was made, and its caller has not got the answer.
    if seen and seen != planned.digest and planned.plan.change is not None:
        raise StaleRevision(
            "Something that the import changes was changed since its plan was made. Nothing was "
            "changed; make a new plan."
        )
    _require_permissions(planned.plan.writes, request)


def _require_permissions(writes: Iterable[Put | Delete], request: ImportRequest) -> None:
    """Check that the caller may change each document as its own route would."""
    changed = list(writes)
    needed = {
        (
            Permission.ADMINISTER if each.address.kind is Kind.ENVIRONMENT else Permission.WRITE,
            each.address.environment or None,
        )
        for each in changed
    }
    for permission, environment in sorted(needed, key=str):
        require_permission(request.caller, permission, request.project, environment)
    for write in changed:
        if isinstance(write, Put) and write.address.kind is Kind.HOOK:
            require_its_permission(request.caller, request.project, write.document)


def _digest(plan: ImportPlan) -> str:
    """Return what identifies the differences of a plan: the same ones have the same digest."""
    digest = hashlib.sha256()
    for write in plan.writes:
        address = write.address
        digest.update(f"{address.kind} {address.key} {address.environment} ".encode())
        digest.update(f"{write.expected} ".encode())
        digest.update(b"" if isinstance(write, Delete) else msgspec.json.encode(_lasting(write)))
        digest.update(b"\n")
    return digest.hexdigest()


def _lasting(write: Put) -> Any:
    """Return what a document is to be, without who does it when and what is random."""
    document = write.document
    if isinstance(document, FlagDefinition) and document.archived is not None:
        return replace(document, archived=Archived("", "", 0))
    if isinstance(document, Targeting):
        return replace(document, disabled=None)
    if isinstance(document, Webhook) and write.expected == 0:
        return replace(document, secret_id="")
    return document


# The answer


def _answer(store: Store, request: ImportRequest, planned: _Planned) -> dict[str, Any]:
    plan, parsed = planned.plan, planned.parsed
    documents = [_planned_document(each, parsed) for each in plan.writes]
    actions = [each["action"] for each in documents]
    deleted = actions.count("delete")
    configured = sum(1 for each in parsed.pointers if each.kind is not Kind.PROJECT)
    changed = sum(1 for each in plan.writes if each.address in parsed.pointers)
    return {
        "plan": planned.digest,
        "created": actions.count("create"),
        "edited": len(actions) - actions.count("create") - deleted,
        "deleted": deleted,
        "unchanged": 0 if plan.problems else configured - changed,
        "documents": documents,
        "affected": list(_affected(store, request, planned)),
        "kept": [{"kind": each.kind, "key": each.key} for each in plan.kept],
        "problems": [_problem(each, parsed) for each in plan.problems[:MAX_PROBLEMS]],
        "problems_left_out": max(0, len(plan.problems) - MAX_PROBLEMS),
    }


def _problem(problem: ImportProblem, parsed: ParsedConfiguration) -> dict[str, Any]:
    address = problem.address
    placed = address.kind is Kind.TARGETING
    return {
        "pointer": parsed.pointer(problem),
        "detail": problem.problem.detail,
        "kind": address.kind,
        "key": address.key,
        "environment": address.environment if placed else "",
    }


def _planned_document(write: Put | Delete, parsed: ParsedConfiguration) -> dict[str, Any]:
    is_edit = isinstance(write, Put) and write.expected > 0
    changed = changed_fields(write) if is_edit else None
    return {
        "kind": write.address.kind,
        "key": write.address.key,
        "environment": write.address.environment,
        "action": _action(write),
        "revision": write.expected,
        "pointer": parsed.pointers.get(write.address, ""),
        "changes": [] if changed is None else _changes(changed),
        "changes_left_out": 0 if changed is None else changed.changes_left_out,
    }


def _action(write: Put | Delete) -> str:
    if isinstance(write, Delete):
        return "delete"
    if write.expected == 0:
        return "create"
    if write.address.kind is Kind.FLAG:
        was, becomes = write.before.archived, write.document.archived
        if was is None and becomes is not None:
            return "archive"
        if was is not None and becomes is None:
            return "unarchive"
    return "edit"


def _changes(changed: ChangedDocument) -> list[dict[str, Any]]:
    return [{**each, "text": _text(each)} for each in changed.changes]


def _text(change: Mapping[str, Any]) -> str:
    before, after = change.get("before", ABSENT), change.get("after", ABSENT)
    return difference_text(Difference(change["pointer"], change["field"], before, after))


def _affected(store: Store, request: ImportRequest, planned: _Planned) -> Iterator[dict[str, Any]]:
    change, documents = planned.plan.change, planned.documents
    if change is None:
        return
    restarted = {
        each.address.key
        for each in change.writes
        if isinstance(each, Put) and each.address.kind is Kind.RELEASE
    }
    for refresh in change.refreshes:
        environment = refresh.environment
        if not request.caller.allows(Permission.READ, request.project, environment):
            continue
        instances = store.instances.all(request.project, environment)
        yield {
            "environment": environment,
            "flags": len(refresh.flags),
            "segments": len(refresh.segments),
            "instances": sum(each.live for each in instances),
            "killed": _killed(refresh, documents),
            "releases": _releases(refresh, documents, restarted),
            "users": None,
        }


def _who_changes_sides(
    store: Store, request: ImportRequest, planned: _Planned, environment: str
) -> Preview | None:
    """Return who of the recently seen users would get another variant; None: nobody was seen.

    A flag that the import creates is left out: nobody gets a variant of it yet.
    """
    change, stored = planned.plan.change, planned.documents.environments.get(environment)
    secret = request.names_secrets.get(environment)
    if change is None or stored is None or secret is None or not stored.document.report_seen_users:
        return None
    sample = store.seen_users.sample(request.project, environment)
    if not sample.users:
        return None
    created = {
        each.address.key
        for each in planned.plan.writes
        if each.address.kind is Kind.FLAG and each.expected == 0
    }
    refresh = next(each for each in change.refreshes if each.environment == environment)
    flags = {key: flag for key, flag in refresh.flags.items() if key not in created}
    snapshot = wire.parse_snapshot(store.snapshot(request.project, environment).body)
    name = partial(user_name, secret)
    return who_changes_sides(snapshot, replace(refresh, flags=flags), sample, name)


def _killed(refresh: Refresh, documents: ProjectDocuments) -> list[str]:
    targetings = documents.targetings.get(refresh.environment, {})
    return [
        key
        for key in refresh.flags
        if key in targetings and targetings[key].document.kill is not None
    ]


def _releases(
    refresh: Refresh, documents: ProjectDocuments, restarted: set[str]
) -> list[dict[str, Any]]:
    found = []
    for key in refresh.flags:
        if key not in documents.targetings.get(refresh.environment, {}):
            continue
        active = documents.active_release(refresh.environment, key)
        if active is not None:
            release = active.document
            found.append(
                {
                    "flag": key,
                    "release": release.id,
                    "state": release.state,
                    "evidence_restarts": release.id in restarted,
                }
            )
    return found


# The audit log


def _audited(change: Change, planned: _Planned, request: ImportRequest) -> Change:
    """Return a change with its entries in the audit log, which name every document."""
    counts: dict[str, int] = defaultdict(int)
    for write in planned.plan.writes:
        counts[_action(write)] += 1
    writes = (each for each in change.writes if isinstance(each, Put | Delete))
    found = (changed_fields(each) for each in writes)
    parts = list(_parts(each for each in found if each is not None and each.changes)) or [()]
    entries = [
        Audit(
            request.caller.name,
            "configuration.apply",
            request.project,
            reason=request.reason,
            details={**counts, "part": number, "parts": len(parts), "plan": planned.digest},
            documents=documents,
            address=request.address,
        )
        for number, documents in enumerate(parts, start=1)
    ]
    return replace(change, audit=entries[0], more_audit=tuple(entries[1:]))


def _parts(documents: Iterable[ChangedDocument]) -> Iterator[tuple[ChangedDocument, ...]]:
    part: list[ChangedDocument] = []
    size = 0
    for each in documents:
        length = len(msgspec.json.encode(each))
        if part and (len(part) >= DOCUMENTS_IN_ENTRY or size + length > BYTES_IN_ENTRY):
            yield tuple(part)
            part, size = [], 0
        part.append(each)
        size += length
    if part:
        yield tuple(part)
