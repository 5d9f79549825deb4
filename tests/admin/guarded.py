"""Protected environments and change requests, for tests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tidegate_server.domain.change import Address, Change, Put
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.tokens import Token
from tidegate_server.store import Store
from werkzeug.test import TestResponse

from tests.http_calls import PRODUCTION, PROJECT, SET_BY_SERVER, Caller

FLAG = f"{PRODUCTION}/flags/checkout"
REQUESTS = f"{PROJECT}/change-requests"
ON = {"variant": "on"}


def protect(admin: Caller, approvals: int = 1, environment: str = "production") -> None:
    path = f"{PROJECT}/environments/{environment}"
    answer = admin.put(path, {"required_approvals": approvals}, match="*")
    assert answer.status_code == 200, answer.text


def targeting(caller: Caller, path: str = FLAG, **changes: Any) -> dict[str, Any]:
    read = caller.get(path).json
    assert read is not None
    return {name: value for name, value in read.items() if name not in SET_BY_SERVER} | changes


def serve_on(caller: Caller, path: str = FLAG, why: str | None = None) -> TestResponse:
    headers = {"Tidegate-Propose": why} if why is not None else {}
    body = targeting(caller, path, default=ON)
    return caller.put(path, body, match=caller.get(path).headers["ETag"], headers=headers)


def proposed(answer: TestResponse) -> str:
    """Return the path of the change request that an operation was proposed as."""
    assert answer.status_code == 202, answer.text
    return answer.headers["Location"]


def approve(caller: Caller, path: str) -> TestResponse:
    return caller.post(f"{path}/approve", {}, match=caller.get(path).headers["ETag"])


def state(caller: Caller, path: str) -> Any:
    read = caller.get(path).json
    assert read is not None, path
    return read["state"]


def another_person(admin: Caller, role: str = "release_manager", **scope: Any) -> Caller:
    """Return somebody else, as a token that counts as itself."""
    return admin.token_for(role, scope.get("project", "default"), scope.get("environment"))


def second_token(admin: Caller, store: Store, of: Caller, role: str = "release_manager") -> Caller:
    """Return another token of the person whose first token ``of`` is: one answers for both."""
    person = "person-1"
    second = admin.token_for(role, "default", None)
    for caller in (of, second):
        assert caller.token is not None
        id = caller.token.split("_")[-2] if caller.token.startswith("tg_") else "bootstrap"
        address = Address(Kind.TOKEN, id)
        stored = store.get("", address)
        assert stored is not None, id
        token: Token = replace(stored.document, made_by=person)
        store.commit(Change("", (Put(address, token, stored.revision),)))
    return second
