"""The steps of the specification's scenarios and of Tidegate's own, for Tidegate's provider."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
from openfeature.event import ProviderEvent
from openfeature.exception import ErrorCode
from openfeature.flag_evaluation import FlagEvaluationOptions

from tests.sdk import bad_proxy
from tests.sdk.integrations.openfeature.scenarios import StepRegistry, Table
from tests.sdk.integrations.openfeature.world import HookRecorder, World, value_of
from tests.waiting import soon

TO_EVERYONE = {
    "key": "everyone",
    "interval": "1s",
    "stages": [{"percentage": 100, "min_duration": "0s", "min_samples": 10}],
    "checks": [{"metric": "error_rate", "compare": "absolute", "threshold": 0.9}],
    "bake": "60s",
}
ATTRIBUTES = {"string": "a", "list": ["b", {"deep": [1]}], "number": 1}

step: StepRegistry[World] = StepRegistry()

# The provider


@step(r"an? (stable|stale|not ready|error|fatal) provider")
def _(world: World, state: str) -> None:
    world.provide(state)


@step(r'the provider status should be "(\w+)"')
def _(world: World, status: str) -> None:
    assert world.status.value == status


@step(r'the provider status should become "(\w+)"')
def _(world: World, status: str) -> None:
    soon(lambda: world.status.value == status, f"the status becomes {status}")


@step("the server goes away")
def _(world: World) -> None:
    world.become(bad_proxy.refuse)


@step("the server comes back")
def _(world: World) -> None:
    world.become(bad_proxy.pass_through)


@step("the server refuses the token")
def _(world: World) -> None:
    world.become(bad_proxy.respond("401 Unauthorized", {}))


@step("a provider that starts from a file while the server is away")
def _(world: World) -> None:
    world.provide_from_file()


# The evaluation


@step(r'an? (\w+)-flag with key "([^"]*)" and a (?:default|fallback) value "(.*)"')
def _(world: World, type: str, key: str, default: str) -> None:
    world.set_flag(type, key, value_of(type, default))


@step(r'a context containing a key "(\w+)", with type "(\w+)" and with value "(.*)"')
def _(world: World, name: str, type: str, value: str) -> None:
    world.attributes[name] = value_of(type, value)


@step(r'a context containing a key "(\w+)" with null value')
def _(world: World, name: str) -> None:
    world.attributes[name] = None


@step(r'a context containing a targeting key with value "(.*)"')
def _(world: World, value: str) -> None:
    world.targeting_key = value


@step("an evaluation context with modifiable data")
def _(world: World) -> None:
    world.attributes = copy.deepcopy(ATTRIBUTES)


@step("evaluation options containing specific hooks")
def _(world: World) -> None:
    hooks: list[Any] = [HookRecorder("first", world.order), HookRecorder("second", world.order)]
    world.options = FlagEvaluationOptions(hooks=hooks)


@step("a client with added hook")
def _(world: World) -> None:
    world.api_client.add_hooks([world.recorder])


@step("the flag was evaluated with details(?: using the evaluation options)?")
def _(world: World) -> None:
    world.evaluate()


@step("the flag was evaluated with details asynchronously")
def _(world: World) -> None:
    world.evaluate_asynchronously()


# The result


@step(r'the resolved details value should be "(.*)"')
def _(world: World, value: str) -> None:
    assert world.value == value_of(world.type, value)


@step(r'the variant should be "([\w-]*)"')
def _(world: World, variant: str) -> None:
    assert world.details.variant == variant


@step(r'the reason should be "(\w+)"')
def _(world: World, reason: str) -> None:
    assert world.details.reason == reason


@step(r'the flag key should be "([\w-]*)"')
def _(world: World, key: str) -> None:
    assert world.details.flag_key == key


@step(r'the error-code should be "(\w*)"')
def _(world: World, code: str) -> None:
    assert world.details.error_code == (ErrorCode(code) if code else None)


@step(r'the error message should contain "(.*)"')
def _(world: World, text: str) -> None:
    assert text in (world.details.error_message or "")


@step("the resolved metadata should contain")
def _(world: World, table: Table) -> None:
    expected = {row["key"]: value_of(row["metadata_type"], row["value"]) for row in table}
    assert world.details.flag_metadata.items() >= expected.items()


@step("the resolved metadata is empty")
def _(world: World) -> None:
    assert not world.details.flag_metadata


@step("the evaluation should complete without blocking")
def _(world: World) -> None:
    assert world.details  # else the evaluation would have failed


@step("the result should be equivalent to synchronous evaluation")
def _(world: World) -> None:
    asynchronous = world.details
    world.evaluate()
    assert world.details == asynchronous


@step("the original evaluation context should remain unmodified")
def _(world: World) -> None:
    assert world.context is not None
    assert world.context.attributes == ATTRIBUTES


@step("the evaluation details should be immutable")
def _(world: World) -> None:
    metadata: Any = world.details.flag_metadata
    with pytest.raises(TypeError):
        metadata["flagVersion"] = 0
    before = copy.deepcopy(replace(world.details, flag_metadata={}))
    if isinstance(world.details.value, dict):
        world.details.value["changed"] = True
    world.evaluate()
    assert replace(world.details, flag_metadata={}) == before


# Hooks


@step(r'the "(\w+)" hook should have been executed')
def _(world: World, stage: str) -> None:
    assert stage in world.recorder.details


@step(r'the "([\w, ]+)" hooks should be called with evaluation details')
def _(world: World, stages: str, table: Table) -> None:
    for stage in stages.split(", "):
        details = world.recorder.details[stage]
        for row in table:
            actual = getattr(details, row["key"])
            expected = None if row["value"] in ("null", "None") else row["value"]
            if expected is not None:
                expected = value_of(row["data_type"], expected)
            assert (actual, row["key"]) == (expected, row["key"])


@step("the specified hooks should execute during evaluation")
def _(world: World) -> None:
    assert set(world.order) >= {"before first", "before second"}


@step("the hook order should be maintained")
def _(world: World) -> None:
    assert world.order == [
        *("before first", "before second", "after second", "after first"),
        *("finally second", "finally first"),
    ]


# StepRegistry of the suite's first edition


@step(
    r'an? (\w+) flag with key "([\w-]+)" is evaluated (?:with details and |with )'
    r'(?:a )?default value "?(.*?)"?'
)
def _(world: World, type: str, key: str, default: str) -> None:
    world.set_flag(type, key, value_of(type, default))
    world.evaluate()


@step(r'an object flag with key "([\w-]+)" is evaluated with (?:details and )?a null default value')
def _(world: World, key: str) -> None:
    world.set_flag("object", key, None)
    world.evaluate()


@step(r'a flag with key "([\w-]+)" is evaluated with default value "(.*)"')
def _(world: World, key: str, default: str) -> None:
    world.set_flag("string", key, default)
    world.evaluate()


@step(
    r'a non-existent string flag with key "([\w-]+)" is evaluated with details and a default '
    r'value "(.*)"'
)
def _(world: World, key: str, default: str) -> None:
    world.set_flag("string", key, default)
    world.evaluate()


@step(
    r'a string flag with key "([\w-]+)" is evaluated as an integer, with details and a default '
    r"value (\d+)"
)
def _(world: World, key: str, default: str) -> None:
    world.set_flag("integer", key, int(default))
    world.evaluate()


@step(
    r'context contains keys "(\w+)", "(\w+)", "(\w+)", "(\w+)" with values '
    r'"(\w+)", "(\w+)", (\d+), "(\w+)"'
)
def _(world: World, *groups: str) -> None:
    first, second, third, fourth = groups[4:]
    values = [first, second, int(third), value_of("boolean", fourth)]
    world.attributes = dict(zip(groups[:4], values, strict=True))


@step(r'the resolved (boolean|string|integer|float) (?:value|response) should be "?(.*?)"?')
def _(world: World, type: str, value: str) -> None:
    assert world.type == type
    assert world.value == value_of(type, value)


@step(
    r'the resolved (\w+) details value should be "?(.*?)"?, the variant should be "(\w+)", '
    r'and the reason should be "(\w+)"'
)
def _(world: World, type: str, value: str, variant: str, reason: str) -> None:
    assert world.type == type
    assert world.value == value_of(type, value)
    assert (world.details.variant, world.details.reason) == (variant, reason)


@step(
    r'the resolved object (?:details )?value should be contain fields "(\w+)", "(\w+)", and '
    r'"(\w+)", with values "(\w+)", "(.*)" and (\d+), respectively'
)
def _(world: World, *groups: str) -> None:
    first, second, third = groups[3:]
    values = [value_of("boolean", first), second, int(third)]
    assert world.value == dict(zip(groups[:3], values, strict=True))


@step(r'the variant should be "(\w+)", and the reason should be "(\w+)"')
def _(world: World, variant: str, reason: str) -> None:
    assert (world.details.variant, world.details.reason) == (variant, reason)


@step(r'the resolved flag value is "(.*)" when the context is empty')
def _(world: World, value: str) -> None:
    world.attributes = {}
    world.evaluate()
    assert world.value == value


@step(r"the default (?:string|integer) value should be returned")
def _(world: World) -> None:
    assert world.value == world.default


@step(
    r"the reason should indicate an error and the error code should indicate a "
    r'(?:missing flag|type mismatch) with "(\w+)"'
)
def _(world: World, code: str) -> None:
    assert (world.details.reason, world.details.error_code) == ("ERROR", ErrorCode(code))


# Events


@step("a provider which supports events and requires initialization")
def _(world: World) -> None:
    assert world.client is None


@step(r"a (PROVIDER_\w+) handler is attached")
def _(world: World, kind: str) -> None:
    world.events.listen(ProviderEvent(kind))


@step("the provider is set and successf?ully initialized")
def _(world: World) -> None:
    world.provide("stable")


@step("the provider is set and fails to initialize")
def _(world: World) -> None:
    world.provide("fatal")


@step(r'a flag with key "([\w-]+)" is modified')
def _(world: World, key: str) -> None:
    world.environment.flag(key)
    world.provide("stable")
    world.environment.target(key, default={"variant": "on"})


@step(r"the (PROVIDER_\w+) handler must run")
def _(world: World, kind: str) -> None:
    world.events.wait_for(ProviderEvent(kind))


@step(r'the event details must indicate "([\w-]+)" was altered')
def _(world: World, key: str) -> None:
    changed = world.events.wait_for(ProviderEvent.PROVIDER_CONFIGURATION_CHANGED)
    assert changed.flags_changed == [key]


# Releases, and the kill switch


@step(r'a new flag with key "([\w-]+)" that is on')
def _(world: World, key: str) -> None:
    world.environment.flag(key)
    world.environment.target(key, default={"variant": "on"})


@step(r'a new flag with key "([\w-]+)" under a release to everyone')
def _(world: World, key: str) -> None:
    world.environment.flag(key)
    world.release = world.environment.release(key, TO_EVERYONE)


@step("the flag is (killed|restored)")
def _(world: World, how: str) -> None:
    change = {"killed": world.environment.kill, "restored": world.environment.restore}
    change[how](world.key)


@step(r'the resolved details value should become "(.*)"')
def _(world: World, value: str) -> None:
    def has_value() -> bool:
        world.evaluate()
        return bool(world.value == value_of(world.type, value))

    soon(has_value, f"the value becomes {value}")


@step("the flag was evaluated with details in a unit of work")
def _(world: World) -> None:
    with world.operation():
        world.evaluate()


@step(r'the flag was evaluated with details in a unit of work that tracks "([\w.]+)"')
def _(world: World, event: str) -> None:
    with world.operation():
        world.evaluate()
        world.api_client.track(event)


@step("the resolved metadata should name the release")
def _(world: World) -> None:
    assert world.details.flag_metadata["releaseId"] == world.release


@step(r"the server should count (\d+) outcomes? of the treatment, (\d+) of them errors?")
def _(world: World, outcomes: str, errors: str) -> None:
    expected = (int(outcomes), int(errors))
    soon(lambda: world.outcomes() == expected, f"{expected} are counted")
