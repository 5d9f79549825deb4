"""The provider through OpenFeature's own client, and its events from a real server."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.evaluation_context import EvaluationContext
from openfeature.event import ProviderEvent
from openfeature.exception import ErrorCode, ProviderFatalError, ProviderNotReadyError
from openfeature.flag_evaluation import FlagEvaluationDetails, Reason
from openfeature.hook import Hook, HookContext, HookHints
from openfeature.provider import ProviderStatus
from openfeature.track import TrackingEventDetails
from tidegate import Client, Context
from tidegate.integrations.openfeature import FAILED_EVENT, TidegateProvider
from tidegate.persistence import SnapshotFile
from tidegate.testing import flags

from tests.sdk import bad_proxy
from tests.sdk.bad_proxy import Proxy
from tests.sdk.conftest import Connect
from tests.sdk.integrations.counted import SNAPSHOT, counted, counts
from tests.sdk.integrations.heard import Heard
from tests.sdk.server import Environment
from tests.sdk.snapshots import FLAGS as SNAPSHOT_FLAGS
from tests.sdk.snapshots import contexts, snapshots
from tests.waiting import soon


def flag(key: str, type_: str, values: dict[str, Any], serve: Any, **more: Any) -> dict[str, Any]:
    return {
        "key": key,
        "type": type_,
        "version": 3,
        "salt": key,
        "variants": [{"key": name, "value": value} for name, value in values.items()],
        "enabled": True,
        "off_variant": next(iter(values)),
        "default": {"variant": serve},
        "rules": [],
        "prerequisites": [],
        "killed": None,
        "release": None,
        **more,
    }


INTERNAL = {
    "id": "internal",
    "when": {"attribute": "customer", "operator": "equals", "value": False},
    "serve": {"variant": "internal"},
}
FLAGS = [
    flag("boolean-flag", "boolean", {"off": False, "on": True}, "on"),
    flag("string-flag", "string", {"hi": "hi", "bye": "bye"}, "hi"),
    flag("integer-flag", "number", {"one": 1, "ten": 10}, "ten"),
    flag("float-flag", "number", {"tenth": 0.1, "half": 0.5}, "half"),
    flag("object-flag", "object", {"empty": {}, "full": {"show": True, "limit": 100}}, "full"),
    flag(
        "context-aware", "string", {"internal": "INTERNAL", "external": "EXTERNAL"}, "external",
        rules=[INTERNAL],
    ),
    flag("disabled-flag", "boolean", {"off": False, "on": True}, "on", enabled=False),
    flag("split-flag", "boolean", {"off": False, "on": True}, "on"),
]  # fmt: skip
FLAGS[-1]["default"] = {
    "split": [{"variant": "on", "weight": 50}, {"variant": "off", "weight": 50}]
}
DOCUMENT = {**SNAPSHOT, "flags": {each["key"]: each for each in FLAGS}}


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    yield
    api.shutdown()
    api.clear_providers()
    api.clear_hooks()


@pytest.fixture
def questions() -> OpenFeatureClient:
    api.set_provider_and_wait(TidegateProvider(Client.offline(DOCUMENT)))
    return api.get_client()


def test_values_of_every_type_are_resolved(questions: OpenFeatureClient) -> None:
    assert questions.get_boolean_value("boolean-flag", False) is True
    assert questions.get_string_value("string-flag", "bye") == "hi"
    assert questions.get_integer_value("integer-flag", 1) == 10
    assert questions.get_float_value("float-flag", 0.1) == 0.5
    assert questions.get_object_value("object-flag", {}) == {"show": True, "limit": 100}


def test_values_are_resolved_asynchronously_too(questions: OpenFeatureClient) -> None:
    async def ask() -> list[Any]:
        return [
            await questions.get_boolean_value_async("boolean-flag", False),
            await questions.get_string_value_async("string-flag", "bye"),
            await questions.get_integer_value_async("integer-flag", 1),
            await questions.get_float_value_async("float-flag", 0.1),
            await questions.get_object_value_async("object-flag", {}),
        ]

    assert asyncio.run(ask()) == [True, "hi", 10, 0.5, {"show": True, "limit": 100}]


def test_details_have_variant_reason_and_metadata(questions: OpenFeatureClient) -> None:
    details = questions.get_string_details("string-flag", "bye")
    assert (details.variant, details.reason) == ("hi", Reason.STATIC)
    assert details.flag_metadata == {"flagVersion": 3}
    disabled = questions.get_boolean_details("disabled-flag", True)
    assert (disabled.value, disabled.reason) == (False, Reason.DISABLED)


def test_a_context_is_used_for_targeting(questions: OpenFeatureClient) -> None:
    internal = EvaluationContext("ana", {"customer": False})
    external = EvaluationContext("ana", {"customer": True})
    matched = questions.get_string_details("context-aware", "?", internal)
    assert (matched.value, matched.reason) == ("INTERNAL", Reason.TARGETING_MATCH)
    assert matched.flag_metadata["ruleId"] == "internal"
    assert questions.get_string_value("context-aware", "?", external) == "EXTERNAL"
    assert questions.get_string_value("context-aware", "?") == "EXTERNAL"


def error(details: FlagEvaluationDetails[Any]) -> tuple[Any, ...]:
    return details.value, details.reason, details.error_code


def test_errors_give_the_default_and_their_code(questions: OpenFeatureClient) -> None:
    assert error(questions.get_string_details("missing-flag", "uh-oh")) == (
        "uh-oh", Reason.ERROR, ErrorCode.FLAG_NOT_FOUND,
    )  # fmt: skip
    assert error(questions.get_integer_details("string-flag", 13)) == (
        13, Reason.ERROR, ErrorCode.TYPE_MISMATCH,
    )  # fmt: skip
    assert error(questions.get_integer_details("float-flag", 13)) == (
        13, Reason.ERROR, ErrorCode.TYPE_MISMATCH,
    )  # fmt: skip
    assert error(questions.get_boolean_details("split-flag", False)) == (
        False, Reason.ERROR, ErrorCode.TARGETING_KEY_MISSING,
    )  # fmt: skip


def test_hooks_of_the_provider_and_the_api_run(questions: OpenFeatureClient) -> None:
    ran: list[str] = []

    class Note(Hook):
        def after(self, hook_context: HookContext, details: Any, hints: HookHints) -> None:
            ran.append(f"{hook_context.provider_metadata.name}: {details.variant}")  # type: ignore[union-attr]

    provider = TidegateProvider(Client.offline(DOCUMENT), hooks=[Note()])
    api.set_provider_and_wait(provider)
    api.get_client().get_boolean_value("boolean-flag", False)
    assert ran == ["tidegate: on"]


def test_evaluations_are_exposures_of_the_current_operation() -> None:
    client = Client.offline(SNAPSHOT)
    api.set_provider_and_wait(TidegateProvider(client))
    questions = api.get_client()
    with client.operation(Context("ana")):
        assert questions.get_boolean_value("checkout", False) is True
        assert questions.get_boolean_value("checkout", False) is True
    assert counted(client) == counts(1, 1, 0)
    with client.operation(Context("bob")):
        questions.get_boolean_value("checkout", False, EvaluationContext(attributes={"a": 1}))
        questions.track(FAILED_EVENT)
    assert counted(client) == counts(2, 2, 1, 1)


def test_asynchronous_evaluations_are_exposures_too() -> None:
    client = Client.offline(SNAPSHOT)
    api.set_provider_and_wait(TidegateProvider(client))
    questions = api.get_client()

    async def work(user: str) -> bool:
        with client.operation(Context(user)):
            await asyncio.sleep(0)
            return await questions.get_boolean_value_async("checkout", False)

    async def work_at_once() -> list[bool]:
        return list(await asyncio.gather(work("ana"), work("bob")))

    assert asyncio.run(work_at_once()) == [True, True]
    assert counted(client) == counts(2, 2, 0)


def test_tracking_counts_in_the_operations_of_the_providers_client_alone() -> None:
    mine, other = Client.offline(SNAPSHOT), Client.offline(SNAPSHOT)
    api.set_provider_and_wait(TidegateProvider(other))
    questions = api.get_client()
    with mine.operation(Context("ana")):
        mine.boolean("checkout", False)
        questions.track(FAILED_EVENT)
        questions.track("basket_value", tracking_event_details=TrackingEventDetails(12.5))
    assert counted(mine) == counts(1, 1, 0)
    assert measured(mine) == ["latency"]
    with other.operation(Context("ana")):
        questions.get_boolean_value("checkout", False)
        questions.track("basket_value", tracking_event_details=TrackingEventDetails(12.5))
    assert measured(other) == ["basket_value", "latency"]


def measured(client: Client) -> list[str]:
    return sorted(each["measure"] for each in client._reporter.compose()["values"])


@given(snapshots(), st.lists(contexts, min_size=1, max_size=2), st.sampled_from(["ana", None]))
@settings(max_examples=40)
def test_the_quick_way_of_booleans_gives_and_counts_what_details_do(
    document: dict[str, Any], people: list[dict[str, Any]], around: str | None
) -> None:
    client = Client.offline(document)
    provider = TidegateProvider(client)
    outer = Context(around, plan="pro")
    for key in (*SNAPSHOT_FLAGS, "missing"):
        for whom in people:
            named = Context.of(whom)
            asks = EvaluationContext(named.targeting_key, named.attributes)
            # What OpenFeature's context says goes before what the operation's does.
            if named.targeting_key in (None, around):
                named.attributes = {**outer.attributes, **named.attributes}
            named.targeting_key = named.targeting_key or around
            for _ in range(2):  # the first question compiles
                with client.operation(outer) as quick:
                    found = provider.resolve_boolean_details(key, True, asks)
                    again = provider.resolve_boolean_details(key, True, asks)
                with client.operation(outer) as slow:
                    details = client.boolean_details(key, True, named)
                assert found == again
                assert (found.value, found.variant, found.reason, found.error_code) == (
                    details.value, details.variant, details.reason, details.error_code,
                )  # fmt: skip
                assert found.flag_metadata == details.metadata
                assert quick.exposures == slow.exposures
                if whom:
                    assert quick.other_keys == slow.other_keys


def test_a_question_without_a_context_is_the_operations_own() -> None:
    client = Client.offline(SNAPSHOT)
    provider = TidegateProvider(client)
    client.boolean("checkout", False)
    for asks in (None, EvaluationContext()):
        with client.operation(Context("ana", plan="pro")) as operation:
            assert provider.resolve_boolean_details("checkout", False, asks).value is True
        assert operation.exposures
        assert operation.other_keys is None


def test_observers_hear_of_every_question() -> None:
    client = Client.offline(SNAPSHOT)
    api.set_provider_and_wait(TidegateProvider(client))
    questions = api.get_client()
    questions.get_boolean_value("checkout", False, EvaluationContext("ana"))
    heard: list[str | None] = []
    forget = client.observe(lambda details, context: heard.append(context.targeting_key))
    for name in ("bob", "eve"):
        questions.get_boolean_value("checkout", False, EvaluationContext(name))
    forget()
    questions.get_boolean_value("checkout", False, EvaluationContext("zoë"))
    assert heard == ["bob", "eve"]


def test_flags_that_no_server_has_confirmed_are_stale(tmp_path: Path) -> None:
    nowhere, path = "http://127.0.0.1:9", tmp_path / "flags"
    SnapshotFile(path, nowhere, "token").save(SNAPSHOT)
    client = Client(nowhere, "token", cache_path=path)
    api.set_provider_and_wait(TidegateProvider(client))
    questions = api.get_client()
    for _ in range(3):
        details = questions.get_boolean_details("checkout", False, EvaluationContext("ana"))
        assert (details.value, details.reason) == (True, Reason.STALE)


def test_what_a_hook_does_to_details_changes_no_other_answer() -> None:
    class Change(Hook):
        def after(self, hook_context: HookContext, details: Any, hints: HookHints) -> None:
            details.value, details.flag_metadata = False, {}

    api.set_provider_and_wait(TidegateProvider(Client.offline(DOCUMENT)))
    questions = api.get_client()
    for _ in range(2):
        assert questions.get_boolean_value("boolean-flag", False) is True
    api.add_hooks([Change()])
    assert questions.get_boolean_value("boolean-flag", True) is False
    api.clear_hooks()
    details = questions.get_boolean_details("boolean-flag", False)
    assert (details.value, details.flag_metadata) == (True, {"flagVersion": 3})


def test_what_a_test_sets_holds_for_flags_asked_before(questions: OpenFeatureClient) -> None:
    for _ in range(2):
        assert questions.get_boolean_value("boolean-flag", False) is True
    with flags(boolean_flag=False) as asked:
        assert questions.get_boolean_value("boolean-flag", True) is False
    asked.assert_asked("boolean-flag", False)
    assert questions.get_boolean_value("boolean-flag", False) is True


def test_tracking_outside_of_an_operation_is_no_trouble(questions: OpenFeatureClient) -> None:
    questions.track("basket_value", tracking_event_details=TrackingEventDetails(12.5))


@pytest.fixture
def heard() -> Iterator[Heard]:
    heard = Heard()
    yield heard
    heard.forget()


@pytest.fixture
def proxy(environment: Environment) -> Iterator[Proxy]:
    """Between the client and a flag server that has ``checkout`` on."""
    environment.flag("checkout")
    environment.target("checkout", default={"variant": "on"})
    proxy = Proxy(environment.url)
    yield proxy
    proxy.close()


def status() -> ProviderStatus:
    return api.get_client().get_provider_status()


def test_changed_flags_are_named(environment: Environment, connect: Connect, heard: Heard) -> None:
    environment.flag("checkout")
    client = connect()
    api.set_provider_and_wait(TidegateProvider(client))
    heard.listen(ProviderEvent.PROVIDER_CONFIGURATION_CHANGED)
    environment.target("checkout", default={"variant": "on"})
    changed = heard.wait_for(ProviderEvent.PROVIDER_CONFIGURATION_CHANGED)
    assert changed.flags_changed == ["checkout"]
    assert api.get_client().get_boolean_value("checkout", False) is True


def test_a_provider_is_ready_once(environment: Environment, heard: Heard) -> None:
    environment.flag("checkout")
    heard.listen(ProviderEvent.PROVIDER_READY, ProviderEvent.PROVIDER_CONFIGURATION_CHANGED)
    heard.wait_for(ProviderEvent.PROVIDER_READY)  # no provider is always ready
    heard.events.clear()
    api.set_provider_and_wait(TidegateProvider(Client(environment.url, environment.token)))
    environment.target("checkout", default={"variant": "on"})
    heard.wait_for(ProviderEvent.PROVIDER_CONFIGURATION_CHANGED)
    assert heard.kinds().count(ProviderEvent.PROVIDER_READY) == 1


def test_a_lost_connection_is_stale_and_flags_stay_in_force(
    proxy: Proxy, environment: Environment, heard: Heard
) -> None:
    heard.listen(ProviderEvent.PROVIDER_STALE)
    api.set_provider_and_wait(TidegateProvider(Client(proxy.url, environment.token)))
    proxy.become(bad_proxy.refusing)
    assert heard.wait_for(ProviderEvent.PROVIDER_STALE).message
    assert status() is ProviderStatus.STALE
    assert api.get_client().get_boolean_value("checkout", False) is True
    proxy.become(bad_proxy.passing)
    soon(lambda: status() is ProviderStatus.READY, "it is connected again")


def test_without_flags_there_is_nothing_that_could_be_stale(
    proxy: Proxy, environment: Environment
) -> None:
    proxy.become(bad_proxy.black_hole)
    client = Client(proxy.url, environment.token)
    with pytest.raises(ProviderNotReadyError):
        api.set_provider_and_wait(TidegateProvider(client, ready_seconds=0.01))
    proxy.become(bad_proxy.refusing)
    kinds: list[str] = []
    client.listen(lambda event: kinds.append(event.kind))  # after the provider: it has heard, too
    soon(lambda: kinds == ["stale"], "the client has failed to connect")
    assert status() is ProviderStatus.ERROR
    proxy.become(bad_proxy.passing)
    soon(lambda: status() is ProviderStatus.READY, "the flags have come")
    assert api.get_client().get_boolean_value("checkout", False) is True


def test_a_refused_token_is_fatal(environment: Environment, heard: Heard) -> None:
    provider = TidegateProvider(Client(environment.url, "tg_sdk_wrong"), ready_seconds=30.0)
    heard.listen(ProviderEvent.PROVIDER_ERROR)
    with pytest.raises(ProviderFatalError, match="refused"):
        api.set_provider_and_wait(provider)
    assert heard.wait_for(ProviderEvent.PROVIDER_ERROR).error_code is ErrorCode.PROVIDER_FATAL
    questions = api.get_client()
    assert status() is ProviderStatus.FATAL
    assert questions.get_boolean_value("checkout", True) is True


def test_a_token_refused_under_way_is_an_error_and_flags_stay_in_force(
    proxy: Proxy, environment: Environment, heard: Heard
) -> None:
    heard.listen(ProviderEvent.PROVIDER_ERROR)
    api.set_provider_and_wait(TidegateProvider(Client(proxy.url, environment.token)))
    proxy.become(bad_proxy.saying("401 Unauthorized", {}))
    refused = heard.wait_for(ProviderEvent.PROVIDER_ERROR)
    assert refused.error_code is ErrorCode.GENERAL
    assert "refused" in (refused.message or "")
    assert status() is ProviderStatus.ERROR
    assert api.get_client().get_boolean_value("checkout", False) is True


def test_a_shutdown_ends_the_waiting_for_flags(proxy: Proxy, environment: Environment) -> None:
    proxy.become(bad_proxy.black_hole)
    provider = TidegateProvider(Client(proxy.url, environment.token), ready_seconds=600.0)
    ended = threading.Event()

    def wait() -> None:
        with contextlib.suppress(ProviderNotReadyError):
            provider.initialize(EvaluationContext())
        ended.set()

    threading.Thread(target=wait, daemon=True).start()
    soon(lambda: provider._stop_listening is not None, "it waits")
    provider.shutdown()
    assert ended.wait(20)


def test_shutdown_closes_the_client(environment: Environment, connect: Connect) -> None:
    client = connect()
    api.set_provider_and_wait(TidegateProvider(client))
    api.shutdown()
    assert client.status().state == "closed"
