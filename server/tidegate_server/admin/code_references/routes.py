"""Code references: where source code uses flags, pushed by pipelines."""

from __future__ import annotations

from dataclasses import asdict
from http import HTTPStatus
from typing import Any

from flask import Response

from tidegate_server.admin.code_references.schemas import (
    BranchPage,
    FlagInCodePage,
    FlagsInCodeQuery,
    FlagUsesAnswer,
    FlagUsesQuery,
    ForgetQuery,
    PushAnswer,
    PushBody,
)
from tidegate_server.admin.document_reader import read_project
from tidegate_server.domain.code_references import CodeBranch, FlagInCode, PushedReferences
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.permissions import Permission
from tidegate_server.errors import NotFound
from tidegate_server.near_misses import similar
from tidegate_server.web import responses
from tidegate_server.web.backend import backend, current_actor
from tidegate_server.web.blueprint import PROJECT, Blueprint
from tidegate_server.web.pagination import PageQuery, PageRequest, paginate

blueprint = Blueprint(
    "code references",
    __name__,
    description="Where source code uses flags, by repository and branch",
)

COLLECTION = f"{PROJECT}/code-references"


@blueprint.operation(
    "POST",
    COLLECTION,
    permission=Permission.CODE,
    body=PushBody,
    response=PushAnswer,
    etag=False,
)
def push_code_references(body: tuple[PushedReferences, bool], project: str) -> Response:
    """Replace what is known of a branch by the uses in one commit.

    The latest commit counts: an earlier one is not kept, unless `force` says so. A branch that is
    not the default one is forgotten after 30 days without a push.
    """
    store = backend().store
    read_project(store, project)
    pushed, force = body
    branch, kept = store.code_references.put(
        project, pushed, store.now_ms(), current_actor(), force=force
    )
    return responses.value(PushAnswer(), {**_shown(branch), "kept": kept})


@blueprint.operation(
    "GET", COLLECTION, permission=Permission.READ, query=PageQuery, response=BranchPage
)
def list_code_references(page: PageRequest, project: str) -> Response:
    """List the branches whose uses of flags are known."""
    store = backend().store
    read_project(store, project)
    branches = store.code_references.branches(project, store.now_ms())
    # Neither name has a space.
    by_name = {f"{each.repository} {each.branch}": each for each in branches}
    return responses.page(BranchPage(), *paginate(by_name, page))


@blueprint.operation(
    "DELETE",
    COLLECTION,
    permission=Permission.CODE,
    query=ForgetQuery,
    response=None,
    status=HTTPStatus.NO_CONTENT,
    etag=False,
)
def forget_code_references(query: tuple[str, str | None], project: str) -> Response:
    """Forget a branch, or all branches of a repository."""
    store = backend().store
    read_project(store, project)
    repository, branch = query
    if not store.code_references.forget(project, repository, branch):
        branches = store.code_references.branches(project, store.now_ms())
        of = f"branch {branch!r} of " if branch else ""
        raise NotFound(
            f"There are no code references of {of}repository {repository!r}.",
            similar(repository, {each.repository for each in branches} - {repository}),
        )
    return responses.no_content()


@blueprint.operation(
    "GET",
    f"{COLLECTION}/flags",
    permission=Permission.READ,
    query=FlagsInCodeQuery,
    response=FlagInCodePage,
)
def list_flags_in_code(query: tuple[PageRequest, str], project: str) -> Response:
    """List flags with their uses: also flags without code, and keys in code that are no flags."""
    store = backend().store
    read_project(store, project)
    page, state = query
    existing = set(store.keys(project, Kind.FLAG))
    branches = store.code_references.branches(project, store.now_ms())
    code = store.code_references.project_code(project, branches)
    chosen = {
        key: _summary(key, code.of(key), key in existing)
        for key in existing | code.flags.keys()
        if _is_in(state, code.of(key), key in existing)
    }
    items, following = paginate(chosen, page)
    content = {"items": items, "next_cursor": following, "is_known": code.is_known}
    return responses.value_with_etag(FlagInCodePage(), content)


@blueprint.operation(
    "GET",
    f"{PROJECT}/flags/<key:flag>/code-references",
    permission=Permission.READ,
    query=FlagUsesQuery,
    response=FlagUsesAnswer,
)
def get_code_references_of_flag(all_branches: bool, project: str, flag: str) -> Response:
    """Get the places that use a flag, also one that does not exist but that code asks for."""
    store = backend().store
    read_project(store, project)
    existing = store.keys(project, Kind.FLAG)
    branches = store.code_references.branches(project, store.now_ms())
    code = store.code_references.project_code(project, branches)
    shown = [each for each in branches if each.is_default or all_branches]
    found = store.code_references.of_flag(project, flag, shown)
    if flag not in existing and not found and flag not in code.flags:
        raise NotFound(
            f"There is no flag {flag!r} in project {project!r}, and no code asks for it.",
            similar(flag, existing),
        )
    uses = [
        {
            **_shown(branch),
            "total": each.total,
            "tests": each.tests,
            "uses": [{**asdict(use), "url": branch.url(use)} for use in each.uses],
        }
        for branch, each in found
    ]
    summary = _summary(flag, code.of(flag), flag in existing)
    return responses.value_with_etag(FlagUsesAnswer(), {**summary, "branches": uses})


def _shown(branch: CodeBranch) -> dict[str, Any]:
    return {**asdict(branch), "expires_ms": branch.expires_ms}


def _summary(flag: str, found: FlagInCode, exists: bool) -> dict[str, Any]:
    return {"flag": flag, "exists": exists, **asdict(found)}


def _is_in(state: str, found: FlagInCode, exists: bool) -> bool:
    if not exists and not found.uses:
        return False  # a flag that was deleted after its code
    return {
        "": True,
        "used": exists and found.uses > 0,
        "without_code": exists and found.uses == 0,
        "unknown": not exists,
    }[state]
