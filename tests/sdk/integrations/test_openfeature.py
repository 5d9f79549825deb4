"""The provider through OpenFeature's own client, and its events from a real server."""

from __future__ import annotations

import asyncio
import contextlib
import json
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
from tests.sdk.integrations.provider_events import ProviderEvents
from tests.sdk.integrations.treatment_counts import SNAPSHOT, counted, counts
from tests.sdk.reports import report_document
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
def api_client() -> OpenFeatureClient:
    api.set_provider_and_wait(TidegateProvider(Client.offline(DOCUMENT)))
    return api.get_client()


def test_values_of_every_type_are_resolved(api_client: OpenFeatureClient) -> None:
    assert api_client.get_boolean_value("boolean-flag", False) is True
    assert api_client.get_string_value("string-flag", "bye") == "hi"
    assert api_client.get_integer_value("integer-flag", 1) == 10
    assert api_client.get_float_value("float-flag", 0.1) == 0.5
    assert api_client.get_object_value("object-flag", {}) == {"show": True, "limit": 100}


def test_values_are_resolved_asynchronously(api_client: OpenFeatureClient) -> None:
    async def ask() -> list[Any]:
        return [
            await api_client.get_boolean_value_async("boolean-flag", False),
            await api_client.get_string_value_async("string-flag", "bye"),
            await api_client.get_integer_value_async("integer-flag", 1),
            await api_client.get_float_value_async("float-flag", 0.1),
            await api_client.get_object_value_async("object-flag", {}),
        ]

    assert asyncio.run(ask()) == [True, "hi", 10, 0.5, {"show": True, "limit": 100}]


def test_details_have_variant_reason_and_metadata(api_client: OpenFeatureClient) -> None:
    details = api_client.get_string_details("string-flag", "bye")
    assert (details.variant, details.reason) == ("hi", Reason.STATIC)
    assert details.flag_metadata == {"flagVersion": 3}
    disabled = api_client.get_boolean_details("disabled-flag", True)
    assert (disabled.value, disabled.reason) == (False, Reason.DISABLED)


def test_rules_use_the_evaluation_context(api_client: OpenFeatureClient) -> None:
    internal = EvaluationContext("ana", {"customer": False})
    external = EvaluationContext("ana", {"customer": True})
    matched = api_client.get_string_details("context-aware", "?", internal)
    assert (matched.value, matched.reason) == ("INTERNAL", Reason.TARGETING_MATCH)
    assert matched.flag_metadata["ruleId"] == "internal"
    assert api_client.get_string_value("context-aware", "?", external) == "EXTERNAL"
    assert api_client.get_string_value("context-aware", "?") == "EXTERNAL"


def error(details: FlagEvaluationDetails[Any]) -> tuple[Any, ...]:
    return details.value, details.reason, details.error_code


def test_an_error_gives_the_default_and_an_error_code(api_client: OpenFeatureClient) -> None:
    assert error(api_client.get_string_details("missing-flag", "uh-oh")) == (
        "uh-oh", Reason.ERROR, ErrorCode.FLAG_NOT_FOUND,
    )  # fmt: skip
    assert error(api_client.get_integer_details("string-flag", 13)) == (
        13, Reason.ERROR, ErrorCode.TYPE_MISMATCH,
    )  # fmt: skip
    assert error(api_client.get_integer_details("float-flag", 13)) == (
        13, Reason.ERROR, ErrorCode.TYPE_MISMATCH,
    )  # fmt: skip
    assert error(api_client.get_boolean_details("split-flag", False)) == (
        False, Reason.ERROR, ErrorCode.TARGETING_KEY_MISSING,
    )  # fmt: skip


def test_hooks_of_the_provider_and_the_api_run(api_client: OpenFeatureClient) -> None:
    calls: list[str] = []

    class Recorder(Hook):
        def after(self, hook_context: HookContext, details: Any, hints: HookHints) -> None:
            calls.append(f"{hook_context.provider_metadata.name}: {details.variant}")  # type: ignore[union-attr]

    provider = TidegateProvider(Client.offline(DOCUMENT), hooks=[Recorder()])
    api.set_provider_and_wait(provider)
    api.get_client().get_boolean_value("boolean-flag", False)
    assert calls == ["tidegate: on"]


def test_evaluations_are_exposures_of_the_current_operation() -> None:
    client = Client.offline(SNAPSHOT)
    api.set_provider_and_wait(TidegateProvider(client))
    api_client = api.get_client()
    with client.operation(Context("ana")):
        assert api_client.get_boolean_value("checkout", False) is True
        assert api_client.get_boolean_value("checkout", False) is True
    assert counted(client) == counts(1, 1, 0)
    with client.operation(Context("bob")):
        api_client.get_boolean_value("checkout", False, EvaluationContext(attributes={"a": 1}))
        api_client.track(FAILED_EVENT)
    assert counted(client) == counts(2, 2, 1, 1)


def test_asynchronous_evaluations_are_exposures() -> None:
    client = Client.offline(SNAPSHOT)
    api.set_provider_and_wait(TidegateProvider(client))
    api_client = api.get_client()

    async def work(user: str) -> bool:
        with client.operation(Context(user)):
            await asyncio.sleep(0)
            return await api_client.get_boolean_value_async("checkout", False)

    async def work_at_once() -> list[bool]:
        return list(await asyncio.gather(work("ana"), work("bob")))

    assert asyncio.run(work_at_once()) == [True, True]
    assert counted(client) == counts(2, 2, 0)


def test_tracking_applies_only_to_operations_of_the_providers_client() -> None:
    mine, other = Client.offline(SNAPSHOT), Client.offline(SNAPSHOT)
    api.set_provider_and_wait(TidegateProvider(other))
    api_client = api.get_client()
    with mine.operation(Context("ana")):
        mine.boolean("checkout", False)
        api_client.track(FAILED_EVENT)
        api_client.track("basket_value", tracking_event_details=TrackingEventDetails(12.5))
    assert counted(mine) == counts(1, 1, 0)
    assert measured(mine) == ["latency"]
    with other.operation(Context("ana")):
        api_client.get_boolean_value("checkout", False)
        api_client.track("basket_value", tracking_event_details=TrackingEventDetails(12.5))
    assert measured(other) == ["basket_value", "latency"]


def measured(client: Client) -> list[str]:
    return sorted(each["measure"] for each in report_document(client._reporter)["values"])


@given(snapshots(), st.lists(contexts, min_size=1, max_size=2), st.sampled_from(["ana", None]))
@settings(max_examples=40)
def test_booleans_and_their_exposures_equal_those_of_the_details(
    document: dict[str, Any], flat_contexts: list[dict[str, Any]], operation_key: str | None
) -> None:
    client = Client.offline(document)
    provider = TidegateProvider(client)
    outer = Context(operation_key, plan="pro")
    for key in (*SNAPSHOT_FLAGS, "missing"):
        for user in flat_contexts:
            named = Context.of(user)
            evaluation_context = EvaluationContext(named.targeting_key, named.attributes)
            # OpenFeature's context overrides the operation's context.
            if named.targeting_key in (None, operation_key):
                named.attributes = {**outer.attributes, **named.attributes}
            named.targeting_key = named.targeting_key or operation_key
            for _ in range(2):  # the first evaluation compiles
                with client.operation(outer) as of_provider:
                    found = provider.resolve_boolean_details(key, True, evaluation_context)
                    again = provider.resolve_boolean_details(key, True, evaluation_context)
                with client.operation(outer) as of_client:
                    details = client.boolean_details(key, True, named)
                assert found == again
                assert (found.value, found.variant, found.reason, found.error_code) == (
                    details.value, details.variant, details.reason, details.error_code,
                )  # fmt: skip
                assert found.flag_metadata == details.metadata
                assert of_provider.exposures == of_client.exposures
                if user:
                    assert of_provider.users == of_client.users


def test_an_evaluation_without_a_context_uses_the_operations_context() -> None:
    client = Client.offline(SNAPSHOT)
    provider = TidegateProvider(client)
    client.boolean("checkout", False)
    for evaluation_context in (None, EvaluationContext()):
        with client.operation(Context("ana", plan="pro")) as operation:
            assert (
                provider.resolve_boolean_details("checkout", False, evaluation_context).value
                is True
            )
        assert operation.exposures
        assert operation.users == {}  # no other user


def test_observers_receive_every_evaluation() -> None:
    client = Client.offline(SNAPSHOT)
    api.set_provider_and_wait(TidegateProvider(client))
    api_client = api.get_client()
    api_client.get_boolean_value("checkout", False, EvaluationContext("ana"))
    observed: list[str | None] = []
    stop = client.observe(lambda details, context: observed.append(context.targeting_key))
    for name in ("bob", "eve"):
        api_client.get_boolean_value("checkout", False, EvaluationContext(name))
    stop()
    api_client.get_boolean_value("checkout", False, EvaluationContext("zoë"))
    assert observed == ["bob", "eve"]


def test_cached_flags_are_stale_until_a_server_confirms_them(tmp_path: Path) -> None:
    nowhere, path = "http://127.0.0.1:9", tmp_path / "flags"
    SnapshotFile(path, nowhere, "token").save(json.dumps(SNAPSHOT).encode())
    client = Client(nowhere, "token", cache_path=path)
    api.set_provider_and_wait(TidegateProvider(client))
    api_client = api.get_client()
    for _ in range(3):
        details = api_client.get_boolean_details("checkout", False, EvaluationContext("ana"))
        assert (details.value, details.reason) == (True, Reason.STALE)


def test_a_hook_that_changes_details_affects_no_other_evaluation() -> None:
    class Change(Hook):
        def after(self, hook_context: HookContext, details: Any, hints: HookHints) -> None:
            details.value, details.flag_metadata = False, {}

    api.set_provider_and_wait(TidegateProvider(Client.offline(DOCUMENT)))
    api_client = api.get_client()
    for _ in range(2):
        assert api_client.get_boolean_value("boolean-flag", False) is True
    api.add_hooks([Change()])
    assert api_client.get_boolean_value("boolean-flag", True) is False
    api.clear_hooks()
    details = api_client.get_boolean_details("boolean-flag", False)
    assert (details.value, details.flag_metadata) == (True, {"flagVersion": 3})


def test_flags_set_in_a_test_apply_to_flags_evaluated_before(api_client: OpenFeatureClient) -> None:
    for _ in range(2):
        assert api_client.get_boolean_value("boolean-flag", False) is True
    with flags(boolean_flag=False) as asked:
        assert api_client.get_boolean_value("boolean-flag", True) is False
    asked.assert_asked("boolean-flag", False)
    assert api_client.get_boolean_value("boolean-flag", False) is True


def test_tracking_outside_of_an_operation_counts_nothing() -> None:
    client = Client.offline(DOCUMENT)
    api.set_provider_and_wait(TidegateProvider(client))
    api_client = api.get_client()
    api_client.track("basket_value", tracking_event_details=TrackingEventDetails(12.5))
    api_client.track("tidegate.failed")
    assert client._reporter.next_report().totals == {}
    assert client.status().dropped == 0


@pytest.fixture
def events() -> Iterator[ProviderEvents]:
    events = ProviderEvents()
    yield events
    events.stop()


@pytest.fixture
def proxy(proxy: Proxy, environment: Environment) -> Proxy:
    """A proxy between the client and a flag server where ``checkout`` is on."""
    environment.flag("checkout")
    environment.target("checkout", default={"variant": "on"})
    return proxy


def status() -> ProviderStatus:
    return api.get_client().get_provider_status()


def test_the_event_of_a_change_names_the_changed_flags(
    environment: Environment, connect: Connect, events: ProviderEvents
) -> None:
    environment.flag("checkout")
    client = connect()
    api.set_provider_and_wait(TidegateProvider(client))
    events.listen(ProviderEvent.PROVIDER_CONFIGURATION_CHANGED)
    environment.target("checkout", default={"variant": "on"})
    changed = events.wait_for(ProviderEvent.PROVIDER_CONFIGURATION_CHANGED)
    assert changed.flags_changed == ["checkout"]
    assert api.get_client().get_boolean_value("checkout", False) is True


def test_a_provider_emits_ready_once(environment: Environment, events: ProviderEvents) -> None:
    environment.flag("checkout")
    events.listen(ProviderEvent.PROVIDER_READY, ProviderEvent.PROVIDER_CONFIGURATION_CHANGED)
    events.wait_for(ProviderEvent.PROVIDER_READY)  # the default provider is ready at once
    events.events.clear()
    api.set_provider_and_wait(TidegateProvider(Client(environment.url, environment.token)))
    environment.target("checkout", default={"variant": "on"})
    events.wait_for(ProviderEvent.PROVIDER_CONFIGURATION_CHANGED)
    assert events.kinds().count(ProviderEvent.PROVIDER_READY) == 1


def test_after_a_lost_connection_the_provider_is_stale_and_keeps_its_flags(
    proxy: Proxy, environment: Environment, events: ProviderEvents
) -> None:
    events.listen(ProviderEvent.PROVIDER_STALE)
    api.set_provider_and_wait(TidegateProvider(Client(proxy.url, environment.token)))
    proxy.switch_to(bad_proxy.refuse)
    assert events.wait_for(ProviderEvent.PROVIDER_STALE).message
    assert status() is ProviderStatus.STALE
    assert api.get_client().get_boolean_value("checkout", False) is True
    proxy.switch_to(bad_proxy.pass_through)
    soon(lambda: status() is ProviderStatus.READY, "the client is connected again")


def test_a_provider_without_flags_is_never_stale(proxy: Proxy, environment: Environment) -> None:
    proxy.switch_to(bad_proxy.black_hole)
    client = Client(proxy.url, environment.token)
    with pytest.raises(ProviderNotReadyError):
        api.set_provider_and_wait(TidegateProvider(client, ready_seconds=0.01))
    proxy.switch_to(bad_proxy.refuse)
    kinds: list[str] = []
    client.listen(
        lambda event: kinds.append(event.kind)
    )  # after the provider, which was called first
    soon(lambda: kinds == ["stale"], "the client has failed to connect")
    assert status() is ProviderStatus.ERROR
    proxy.switch_to(bad_proxy.pass_through)
    soon(lambda: status() is ProviderStatus.READY, "the flags arrived")
    assert api.get_client().get_boolean_value("checkout", False) is True


def test_a_refused_token_is_fatal(environment: Environment, events: ProviderEvents) -> None:
    provider = TidegateProvider(Client(environment.url, "tg_sdk_wrong"), ready_seconds=30.0)
    events.listen(ProviderEvent.PROVIDER_ERROR)
    with pytest.raises(ProviderFatalError, match="refused"):
        api.set_provider_and_wait(provider)
    assert events.wait_for(ProviderEvent.PROVIDER_ERROR).error_code is ErrorCode.PROVIDER_FATAL
    api_client = api.get_client()
    assert status() is ProviderStatus.FATAL
    assert api_client.get_boolean_value("checkout", True) is True


def test_after_a_refused_token_the_provider_is_in_error_and_keeps_its_flags(
    proxy: Proxy, environment: Environment, events: ProviderEvents
) -> None:
    events.listen(ProviderEvent.PROVIDER_ERROR)
    api.set_provider_and_wait(TidegateProvider(Client(proxy.url, environment.token)))
    proxy.switch_to(bad_proxy.respond("401 Unauthorized", {}))
    refused = events.wait_for(ProviderEvent.PROVIDER_ERROR)
    assert refused.error_code is ErrorCode.GENERAL
    assert "refused" in (refused.message or "")
    assert status() is ProviderStatus.ERROR
    assert api.get_client().get_boolean_value("checkout", False) is True


def test_a_shutdown_ends_initialization(proxy: Proxy, environment: Environment) -> None:
    proxy.switch_to(bad_proxy.black_hole)
    provider = TidegateProvider(Client(proxy.url, environment.token), ready_seconds=600.0)
    ended = threading.Event()

    def wait() -> None:
        with contextlib.suppress(ProviderNotReadyError):
            provider.initialize(EvaluationContext())
        ended.set()

    threading.Thread(target=wait, daemon=True).start()
    soon(lambda: provider._stop_listening is not None, "the provider waits")
    provider.shutdown()
    assert ended.wait(60)


def test_shutdown_closes_the_client(environment: Environment, connect: Connect) -> None:
    client = connect()
    api.set_provider_and_wait(TidegateProvider(client))
    api.shutdown()
    assert client.status().state == "closed"
