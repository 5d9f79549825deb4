from __future__ import annotations

from typing import Any

import pytest
from tidegate_server.domain.change import Put, Stored
from tidegate_server.domain.permissions import Permission, Role
from tidegate_server.domain.policy import DAY
from tidegate_server.domain.token_edits import (
    delete_token,
    new_token,
    rotate_token,
    token_address,
)
from tidegate_server.domain.tokens import Token
from tidegate_server.errors import Invalid, NotFound, NotPossible

from tests.domain.builders import guarded, pointers, written

NOW_MS = 1_000_000


def token(
    id: str = "t1",
    role: Role = Role.ADMIN,
    project: str | None = None,
    environment: str | None = None,
    name: str = "ci",
    rate_limit: int | None = None,
    **more: Any,
) -> Token:
    return Token(id, name, role, "digest", "ana", 0, project, environment, rate_limit, **more)


def stored(*tokens: Token) -> dict[str, Stored]:
    return {each.id: Stored(each, 1, 0) for each in tokens}


def test_the_audit_log_does_not_contain_the_digest_of_a_token() -> None:
    change = new_token(token(project="shop", role=Role.WRITER), actor="ana")
    assert (change.scope, written(change)) == ("", {token_address("t1")})
    assert change.audit is not None
    assert change.audit.details == {"name": "ci", "role": "writer", "project": "shop"}


@pytest.mark.parametrize(
    ("made", "wrong"),
    [
        (token(role=Role.SDK), ["/project", "/environment"]),
        (token(role=Role.SDK, project="shop"), ["/environment"]),
        (token(role=Role.CLIENT), ["/project", "/environment"]),
        (token(role=Role.READER, rate_limit=60), ["/rate_limit"]),
        (token(environment="production"), ["/project"]),
        (token(name=" "), ["/name"]),
        (token(role=Role.CUSTOM), ["/permissions"]),
        (token(role=Role.VIEWER, permissions=(Permission.KILL,)), ["/permissions"]),
        (token(role=Role.CUSTOM, permissions=(Permission.SDK,)), ["/permissions/0"]),
        (token(expires_ms=0), ["/expires_at"]),
        (token(networks=("10.0.0.0/8", "10.0.0.1/8", "here")), ["/networks/1", "/networks/2"]),
        (token(networks=("10.0.0.0/8",) * 51), ["/networks"]),
    ],
)
def test_scopes_and_rate_limits_that_do_not_fit_the_role_are_refused(
    made: Token, wrong: list[str]
) -> None:
    with pytest.raises(Invalid) as caught:
        new_token(made, actor="ana")
    assert pointers(caught.value) == wrong


def test_tokens_that_evaluate_flags_can_have_a_rate_limit() -> None:
    for role in (Role.SDK, Role.CLIENT):
        limited = token(role=role, project="shop", environment="production", rate_limit=60)
        assert written(new_token(limited, actor="ana")) == {token_address("t1")}


def test_a_token_is_revoked() -> None:
    reader = token("t2", Role.READER)
    change = delete_token(stored(token(), reader), "t2", now_ms=NOW_MS, actor="ana")
    assert [write.address for write in change.writes] == [token_address("t2")]


def test_the_last_server_admin_token_cannot_be_revoked() -> None:
    of_project = token("t2", project="shop")
    with pytest.raises(NotPossible, match="last token"):
        delete_token(stored(token(), of_project), "t1", now_ms=NOW_MS, actor="ana")


def test_a_token_that_has_expired_does_not_count_as_another_admin() -> None:
    old = token("t2", expires_ms=NOW_MS)
    with pytest.raises(NotPossible, match="last token"):
        delete_token(stored(token(), old), "t1", now_ms=NOW_MS, actor="ana")


def test_a_rotated_token_keeps_its_old_secret_for_the_overlap() -> None:
    [before] = stored(token()).values()
    change = rotate_token(before, "new", now_ms=NOW_MS, overlap_ms=60_000, actor="ana")
    [put] = change.writes
    assert isinstance(put, Put)
    assert put.document.digests(NOW_MS + 59_999) == ("new", "digest")
    assert put.document.digests(NOW_MS + 60_000) == ("new",)
    assert change.audit is not None
    assert change.audit.action == "token.rotate"
    at_once = rotate_token(before, "new", now_ms=NOW_MS, overlap_ms=0, actor="ana")
    assert isinstance(at_once.writes[0], Put)
    assert at_once.writes[0].document.digests(NOW_MS) == ("new",)
    with pytest.raises(Invalid):
        rotate_token(before, "new", now_ms=NOW_MS, overlap_ms=31 * DAY, actor="ana")


def test_a_revocation_guards_another_server_admin_token() -> None:
    change = delete_token(stored(token(), token("t2")), "t1", now_ms=NOW_MS, actor="ana")
    assert guarded(change) == {token_address("t2")}


def test_an_unknown_token_is_not_found() -> None:
    with pytest.raises(NotFound):
        delete_token({}, "t1", now_ms=NOW_MS, actor="ana")
