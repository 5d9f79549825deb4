"""Code references: pushed by pipelines, read by people."""

from __future__ import annotations

from typing import Any

import pytest
from tidegate_server.domain.code_references import (
    BRANCH_LIFE_MS,
    MAX_BRANCHES,
    MAX_USES,
    ProjectCode,
)
from tidegate_server.store import Store

from tests.http_calls import PRODUCTION, PROJECT, Caller, slug, stored_documents

PATH = f"{PROJECT}/code-references"
USE = {"path": "shop/app file.py", "line": 7, "kind": "call"}


def push(commit: str = "a" * 40, day: int = 1, **more: Any) -> dict[str, Any]:
    """Return a push of the branch `main`, whose code uses `checkout` twice."""
    return {
        "repository": "acme/shop",
        "branch": "main",
        "commit": commit,
        "committed_at": f"2026-01-{day:02d}T00:00:00Z",
        "is_default": True,
        "flags": [{"flag": "checkout", "total": 2, "tests": 1, "uses": [USE]}],
        **more,
    }


def of(caller: Caller, flag: str, query: str = "") -> Any:
    """Return what is known of a flag's uses."""
    response = caller.get(f"{PROJECT}/flags/{flag}/code-references{query}")
    assert response.status_code == 200, response.text
    return response.json


def listed(caller: Caller, state: str) -> list[str]:
    """Return the keys of flags in the code."""
    response = caller.get(f"{PATH}/flags?state={state}")
    return [each["flag"] for each in response.json["items"]]  # type: ignore[index]


def test_uses_are_shown_with_links(checkout: Caller) -> None:
    template = "https://code.example.com/acme/shop/blob/{commit}/{path}#L{line}"
    pushed = checkout.post_ok(PATH, push(url_template=template))
    assert (pushed["kept"], pushed["flags"], pushed["uses"]) == (True, 1, 2)
    assert (pushed["expires_at"], pushed["pushed_by"] != "") == (None, True)
    found = of(checkout, "checkout")
    assert (found["uses"], found["tests"], found["gone_since"]) == (2, 1, None)
    assert found["repositories"] == ["acme/shop"]
    (branch,) = found["branches"]
    assert (branch["branch"], branch["total"], branch["tests"]) == ("main", 2, 1)
    assert branch["uses"] == [
        {
            **USE,
            "source": "",
            "url": f"https://code.example.com/acme/shop/blob/{'a' * 40}/shop/app%20file.py#L7",
        }
    ]
    (shown,) = checkout.get(PATH).json["items"]  # type: ignore[index]
    assert shown == {name: value for name, value in pushed.items() if name != "kept"}


def test_the_latest_commit_of_a_branch_counts(checkout: Caller) -> None:
    checkout.post_ok(PATH, push("b" * 40, day=2))
    earlier = checkout.post_ok(PATH, push("a" * 40, day=1, flags=[]))
    assert (earlier["kept"], earlier["commit"]) == (False, "b" * 40)
    assert of(checkout, "checkout")["uses"] == 2
    forced = checkout.post_ok(PATH, push("a" * 40, day=1, flags=[], force=True))
    assert (forced["kept"], forced["commit"]) == (True, "a" * 40)
    assert of(checkout, "checkout")["uses"] == 0


def test_flags_without_code_and_code_without_flags_are_listed(checkout: Caller) -> None:
    for key in ("banner", "tested"):
        checkout.post_ok(f"{PROJECT}/flags", {"key": key, "type": "boolean"})
    unknown = checkout.get(f"{PATH}/flags").json
    assert unknown is not None
    assert unknown["is_known"] is False
    flags = [
        {"flag": "checkout", "total": 1},
        {"flag": "chekout", "total": 3},
        {"flag": "tested", "total": 0, "tests": 2},
    ]
    checkout.post_ok(PATH, push(flags=flags))
    assert listed(checkout, "used") == ["checkout"]
    assert listed(checkout, "without_code") == ["banner", "tested"]
    assert listed(checkout, "unknown") == ["chekout"]
    assert listed(checkout, "") == ["banner", "checkout", "chekout", "tested"]
    assert of(checkout, "chekout")["exists"] is False
    missing = checkout.get(f"{PROJECT}/flags/checkuot/code-references")
    assert slug(missing) == "not-found"
    assert "Did you mean 'checkout'" in missing.text


def test_a_flag_is_gone_once_no_default_branch_uses_it(checkout: Caller, store: Store) -> None:
    references = store.code_references

    def code() -> ProjectCode:
        return references.project_code("default", references.branches("default", store.now_ms()))

    checkout.post_ok(PATH, push())
    checkout.post_ok(PATH, push(repository="acme/app"))
    checkout.post_ok(PATH, push(branch="old", is_default=False))
    checkout.post_ok(PATH, push("b" * 40, day=2, flags=[]))
    assert of(checkout, "checkout")["gone_since"] is None
    assert of(checkout, "checkout")["repositories"] == ["acme/app"]
    before = store.now_ms()
    checkout.post_ok(PATH, push("b" * 40, day=2, flags=[], repository="acme/app"))
    gone = code().of("checkout").gone_ms
    assert gone is not None
    assert before <= gone <= store.now_ms()
    # It stays the same time while pushes go on, and ends with a new use.
    checkout.post_ok(PATH, push("c" * 40, day=3, flags=[], repository="acme/app"))
    assert code().of("checkout").gone_ms == gone
    assert of(checkout, "checkout")["gone_since"] is not None
    checkout.post_ok(PATH, push("d" * 40, day=4, repository="acme/app"))
    assert of(checkout, "checkout")["gone_since"] is None
    assert of(checkout, "checkout")["uses"] == 2


def test_a_flag_without_code_is_stale(checkout: Caller) -> None:
    flag = f"{PROJECT}/flags/checkout"
    checkout.post_ok(PATH, push())
    assert "not_in_code" not in checkout.get(flag).text
    checkout.post_ok(PATH, push("b" * 40, day=2, flags=[]))
    found = checkout.get(flag).json
    assert found is not None
    assert found["stale"]["reason"] == "not_in_code"
    assert found["stale"]["text"] == "The code does not use it any more."
    for path in (f"{PROJECT}/flags", f"{PRODUCTION}/flags"):
        page = checkout.get(f"{path}?stale=true").json
        assert page is not None
        assert [each["stale"]["reason"] for each in page["items"]] == ["not_in_code"]


def test_other_branches_are_shown_on_request_and_expire(checkout: Caller, store: Store) -> None:
    checkout.post_ok(PATH, push(branch="feature/x", is_default=False))
    assert of(checkout, "checkout")["uses"] == 0
    assert of(checkout, "checkout")["branches"] == []
    (branch,) = of(checkout, "checkout", "?all_branches=true")["branches"]
    assert branch["branch"] == "feature/x"
    later = store.now_ms() + BRANCH_LIFE_MS
    assert store.code_references.branches("default", later) == []
    checkout.post_ok(PATH, push())
    assert len(store.code_references.branches("default", later)) == 1


def test_another_default_branch_takes_the_place_of_the_first(checkout: Caller) -> None:
    checkout.post_ok(PATH, push(branch="master"))
    checkout.post_ok(PATH, push(branch="main"))
    branches = checkout.get(PATH).json["items"]  # type: ignore[index]
    assert [(each["branch"], each["is_default"]) for each in branches] == [
        ("main", True),
        ("master", False),
    ]
    assert of(checkout, "checkout")["uses"] == 2


def test_branches_and_repositories_are_forgotten(checkout: Caller) -> None:
    for branch in ("main", "a", "b"):
        checkout.post_ok(PATH, push(branch=branch, is_default=branch == "main"))
    forget = f"{PATH}?repository=acme/shop"
    assert checkout.delete(f"{forget}&branch=a").status_code == 204
    assert checkout.delete(f"{forget}&branch=a").status_code == 404
    assert len(checkout.get(PATH).json["items"]) == 2  # type: ignore[index]
    assert checkout.delete(forget).status_code == 204
    missing = checkout.delete(f"{PATH}?repository=acme/shp")
    assert missing.status_code == 404
    assert of(checkout, "checkout")["uses"] == 0


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"repository": "a b"}, "/repository"),
        ({"repository": ""}, "/repository"),
        ({"branch": "a{b}"}, "/branch"),
        ({"commit": "HEAD"}, "/commit"),
        ({"committed_at": "yesterday"}, "/committed_at"),
        ({"url_template": "javascript:alert(1)//{path}"}, "/url_template"),
        ({"url_template": "https://{path}/"}, "/url_template"),
        ({"url_template": "https://x.example/{file}"}, "/url_template"),
        ({"url_template": "https://x.example/{commit}"}, "/url_template"),
        ({"flags": [{"flag": "A!", "total": 1}]}, "/flags/0/flag"),
        ({"flags": [{"flag": "a", "total": -1}]}, "/flags/0/total"),
        ({"flags": [{"flag": "a", "total": 1}, {"flag": "a", "total": 1}]}, "/flags"),
        (
            {"flags": [{"flag": "a", "total": 1, "uses": [{**USE, "kind": "x"}]}]},
            "/flags/0/uses/0/kind",
        ),
        (
            {"flags": [{"flag": "a", "total": 1, "uses": [{**USE, "source": "\x1b[2J"}]}]},
            "/flags/0/uses/0/source",
        ),
        ({"flags": [{"flag": "a", "total": 1, "file": "x"}]}, "/flags/0/file"),
    ],
)
def test_a_bad_push_is_refused_and_keeps_nothing(
    checkout: Caller, change: dict[str, Any], pointer: str
) -> None:
    response = checkout.post(PATH, push(**change))
    assert response.status_code == 422, response.text
    assert pointer in [each["pointer"] for each in response.json["errors"]]  # type: ignore[index]
    assert checkout.get(PATH).json["items"] == []  # type: ignore[index]


def test_what_a_project_keeps_is_bounded(checkout: Caller, store: Store) -> None:
    half = [{**USE, "line": line} for line in range(1, MAX_USES // 2 + 2)]
    flags = [{"flag": key, "total": 1, "uses": half} for key in ("a", "b")]
    response = checkout.post(PATH, push(flags=flags))
    assert response.status_code == 422
    assert "send at most 10,000" in response.text
    for number in range(MAX_BRANCHES):
        checkout.post_ok(PATH, push(branch=f"b{number}", is_default=False, flags=[]))
    response = checkout.post(PATH, push())
    assert (response.status_code, slug(response)) == (409, "not-possible")
    assert "Forget some" in response.text
    # One that is there can be pushed again, and expired ones make room.
    checkout.post_ok(PATH, push("b" * 40, 2, branch="b0", is_default=False, flags=[]))


def test_a_push_changes_no_configuration(checkout: Caller, store: Store) -> None:
    before = stored_documents(store)
    checkout.post_ok(PATH, push())
    assert stored_documents(store) == before


def test_a_token_for_a_pipeline_can_push_and_nothing_else(checkout: Caller) -> None:
    body = {
        "name": "ci",
        "role": "custom",
        "permissions": ["read", "code"],
        "project": "default",
    }
    pipeline = Caller(checkout.client, checkout.post_ok("/api/v1/tokens", body)["secret"])
    pipeline.post_ok(PATH, push())
    assert pipeline.get(f"{PROJECT}/flags").status_code == 200
    flag = {"key": "x", "type": "boolean"}
    assert pipeline.post(f"{PROJECT}/flags", flag).status_code == 403
    viewer = checkout.token_for("viewer", "default", None)
    assert viewer.post(PATH, push()).status_code == 403
    assert viewer.get(PATH).status_code == 200
