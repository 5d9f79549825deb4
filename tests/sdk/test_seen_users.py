"""What an instance reports of its users, and what it does not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tidegate import Client, Context, seen_users
from tidegate.errors import Rejected
from tidegate.evaluation.key_sets import KeySet, hashes_content, key_hash
from tidegate.flag_follower import FlagFollower
from tidegate.reporting import Reporter
from tidegate.seen_users import SeenUsers, Wanted, reported_attributes, user_name
from tidegate.sync import HttpSource
from tidegate.transport import Transport

from tests.sdk.conftest import Connect
from tests.sdk.server import Environment

EVERYONE = {"secret": "s3", "below": 2**32, "attributes": ["plan", "company.size"]}
WANTED = Wanted("s3", 2**32, ("plan", "company.size"))


def asked(answer: Any = EVERYONE, allowed: bool = True) -> SeenUsers:
    """Return the users of an instance that has had an answer."""
    users = SeenUsers(allowed)
    users.acknowledge([], answer)
    return users


def test_nobody_is_reported_before_the_server_asks() -> None:
    users = SeenUsers()
    users.look_at(Context("ann", plan="pro"))
    assert users.document() == []


def test_a_user_is_reported_by_a_hash_with_the_attributes_that_rules_compare() -> None:
    users = asked()
    users.look_at(Context("ann", plan="pro", email="ann@example.com", company={"size": 7}))
    [found] = users.document()
    assert found == {
        "user": user_name("s3", "ann"),
        "attributes": {"plan": "pro", "company.size": 7},
    }
    assert "ann" not in json.dumps(found)


def test_an_acknowledged_user_is_not_reported_again_until_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    users = asked()
    ann = Context("ann", plan="pro")
    users.look_at(ann)
    users.acknowledge(users.document(), EVERYONE)
    assert users.known == {None, "ann"}
    assert users.document() == []
    monkeypatch.setattr(seen_users, "AGAIN_SECONDS", -1.0)
    users.document()
    assert users.known == {None}


def test_a_report_that_was_lost_is_repeated() -> None:
    users = asked()
    users.look_at(Context("ann"))
    assert users.document() == users.document() != []


@pytest.mark.parametrize("answer", [None, {}, {"secret": 1}, "all", {**EVERYONE, "below": "x"}])
def test_a_server_that_asks_for_nobody_gets_nobody(answer: object) -> None:
    users = asked()
    users.look_at(Context("ann"))
    users.acknowledge([], answer)
    assert (users.wanted, users.known) == (None, None)
    assert users.document() == []


def test_an_application_that_forbids_it_reports_nobody() -> None:
    assert asked(allowed=False).wanted is None


def test_only_users_below_the_limit_are_reported() -> None:
    limit = 2**30
    users = asked({**EVERYONE, "below": limit})
    keys = [f"user-{number}" for number in range(400)]
    for key in keys:
        users.look_at(Context(key))
    expected = {
        name for name in (user_name("s3", key) for key in keys) if int(name[:8], 16) < limit
    }
    assert {each["user"] for each in users.document()} == expected
    assert 0 < len(expected) < 400


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seen_users, "MAX_KNOWN", 300)
    users = asked()
    for number in range(1_000):
        users.look_at(Context(f"user-{number}"))
    assert len(users.document()) == seen_users.MAX_WAITING
    assert users.known is not None
    assert len(users.known) <= 300


@pytest.mark.parametrize(
    "value",
    [
        *(None, {"nested": 1}, object(), "x" * 501, float("nan"), float("inf"), 2**70),
        *("\ud800", ["a", ["b"]], ["a"] * 51, [None]),
    ],
)
def test_a_value_that_cannot_be_sent_is_left_out(value: object) -> None:
    context = Context("ann", plan=value, other=1)
    assert reported_attributes(context, ("plan", "other")) == {"other": 1}


def test_attributes_that_raise_are_left_out() -> None:
    class Broken(dict[str, Any]):
        def __getitem__(self, key: str) -> Any:
            raise RuntimeError(key)

    context = Context("ann")
    context.attributes = Broken(plan=1)
    assert reported_attributes(context, ("plan",)) == {}


def test_large_attributes_are_cut() -> None:
    names = tuple(f"a{number}" for number in range(100))
    context = Context("ann", **dict.fromkeys(names, "x" * 400))
    found = reported_attributes(context, names)
    assert 0 < len(found) < 6


def segment(environment: Environment) -> None:
    """Create a segment that compares the plan."""
    body = {
        "key": "paying",
        "when": {"attribute": "plan", "operator": "equals", "value": "pro"},
    }
    environment.admin.post_ok(f"/api/v1/projects/{environment.project}/segments", body)


def users_of(environment: Environment) -> Any:
    path = f"/api/v1/projects/{environment.project}/environments/production/seen-users"
    answer = environment.admin.get(path).json
    assert answer is not None
    return answer["items"]


def test_the_users_of_operations_reach_the_server(
    environment: Environment, connect: Connect
) -> None:
    segment(environment)
    client = connect()
    client.flush()
    with client.operation(Context("ann", plan="pro", email="ann@example.com")):
        pass
    with client.operation_of(lambda: Context("bob", plan="free")) as operation:
        operation.resolve_context()
    with client.operation("carl"):
        pass
    client.flush()
    found = users_of(environment)
    attributes = sorted(json.dumps(each["attributes"]) for each in found)
    assert attributes == ['{"plan": "free"}', '{"plan": "pro"}', "{}"]


def upload(environment: Environment, keys: str) -> str:
    """Upload keys to a new segment ``crew``; return the path of the segment."""
    path = f"/api/v1/projects/{environment.project}/segments"
    environment.admin.post_ok(path, {"key": "crew"})
    answer = environment.admin.call(
        "POST",
        f"{path}/crew/keys?mode=replace",
        data=keys,
        content_type="text/plain",
    )
    assert answer.status_code == 200, answer.text
    return f"{path}/crew"


def test_the_server_learns_whose_keys_were_uploaded_and_no_key(
    environment: Environment, connect: Connect
) -> None:
    crew = upload(environment, "ann\nbob\nsomebody\n")
    client = connect()
    client.flush()
    for key in ("ann", "bob", "carl", "dora"):
        with client.operation(key):
            pass
    client.flush()
    found = environment.admin.get(f"{crew}/seen-users").json
    assert found is not None
    production = next(each for each in found["items"] if each["environment"] == "production")
    assert (production["seen"], production["held"], production["caveats"]) == (4, 2, [])
    [report] = [each for each in environment.reports if "seen_users" in each]
    assert all(len(each["lists"]) == 1 for each in report["seen_users"])
    assert "ann" not in json.dumps(report)


def test_a_list_without_a_key_set_here_is_left_out() -> None:
    salts = ("aa", "bb")
    users = asked({**EVERYONE, "key_lists": [*salts]})
    users.look_at(Context("ann"))
    of_ann = KeySet("d", "bb", hashes_content([key_hash("bb:ann")]))
    not_asked = KeySet("e", "cc", hashes_content([key_hash("cc:ann")]))
    assert users.document([of_ann, not_asked])[0]["lists"] == {"bb": True}
    assert "lists" not in users.document()[0]


def test_a_key_that_is_no_text_is_in_no_list() -> None:
    users = asked({**EVERYONE, "key_lists": ["bb"]})
    context = Context("x")
    context.targeting_key = "\ud800"
    users.look_at(context)
    assert users.document([KeySet("d", "bb", b"")])[0]["lists"] == {}


def test_users_are_reported_again_when_the_server_asks_for_another_list() -> None:
    users = asked()
    users.look_at(Context("ann"))
    users.acknowledge(users.document(), {**EVERYONE, "key_lists": ["aa"]})
    assert users.known == {None}


def test_an_operation_with_an_odd_targeting_key_is_no_user(
    environment: Environment, connect: Connect
) -> None:
    client = connect()
    client.flush()
    for key in (None, 7, ["ann"]):
        context = Context("x")
        context.targeting_key = key  # type: ignore[assignment]
        with client.operation(context):
            client.boolean("checkout", False)
        with client.operation_of(lambda context=context: context) as operation:  # type: ignore[misc]
            operation.resolve_context()
    client.flush()
    assert users_of(environment) == []


def test_an_environment_can_refuse_to_know_users(
    environment: Environment, connect: Connect
) -> None:
    path = f"/api/v1/projects/{environment.project}/environments/production"
    body = {"report_seen_users": False}
    assert environment.admin.put(path, body, match='"1"').status_code == 200
    client = connect()
    client.flush()
    with client.operation(Context("ann")):
        pass
    client.flush()
    assert users_of(environment) == []
    assert not any("seen_users" in each for each in environment.reports)


def test_a_client_can_refuse_to_report_users(environment: Environment) -> None:
    client = Client(environment.url, environment.token, report_seen_users=False)
    try:
        assert client.wait_until_ready()
        client.flush()
        with client.operation(Context("ann")):
            pass
        client.flush()
        assert users_of(environment) == []
    finally:
        client.close()


def test_an_instance_says_what_it_is(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIDEGATE_APPLICATION", "not this one")
    name = "  checkout\x1b\ud800-api  "
    client = Client(environment.url, environment.token, application=name)
    try:
        assert client.wait_until_ready()
        client.flush()
        report = environment.reports[-1]
        assert report["application"] == "checkout ?-api"
        assert report["uptime"] >= report["version_age"] >= 0
        [instance] = environment.server.store.instances.all(environment.project, "production")
        assert instance.application == "checkout ?-api"
    finally:
        client.close()


def test_a_server_of_an_earlier_version_gets_reports_that_it_knows(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    transport = Transport(environment.url, environment.token, "shop")
    sent: list[dict[str, Any]] = []
    send = transport.report

    def strict(document: dict[str, Any], **more: Any) -> bool:
        sent.append(document)
        if "application" in document:
            raise Rejected("the server answers 422", "Unknown field.")
        return send(document, **more)

    monkeypatch.setattr(transport, "report", strict)
    follower = FlagFollower(HttpSource(transport), Reporter())
    assert follower.send_report()
    assert follower.send_report()
    assert ["application" in each for each in sent] == [True, False, False]
