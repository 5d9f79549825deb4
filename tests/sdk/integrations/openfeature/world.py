"""The state of one scenario: a provider, an evaluation and its result."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from openfeature import api
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import ProviderFatalError, ProviderNotReadyError
from openfeature.flag_evaluation import FlagEvaluationDetails, FlagEvaluationOptions
from openfeature.hook import Hook, HookContext, HookHints
from openfeature.provider import ProviderStatus
from tidegate import Client, Operation
from tidegate.integrations.openfeature import TidegateProvider

from tests.sdk import bad_proxy
from tests.sdk.bad_proxy import Mode, Proxy
from tests.sdk.integrations.provider_events import ProviderEvents
from tests.sdk.server import Environment
from tests.waiting import soon

Details = FlagEvaluationDetails[Any]


def value_of(type: str, text: str) -> Any:
    """Return a value from a feature file, in which quotes are escaped with backslashes."""
    text = text.replace('\\"', '"')
    readers: dict[str, Callable[[str], Any]] = {
        "boolean": lambda text: {"true": True, "false": False}[text],
        "integer": int,
        "float": float,
        "double": float,
        "object": json.loads,
    }
    return readers.get(type.lower(), str)(text)


class HookRecorder(Hook):
    """A hook that records the stages in which it ran, and the details it got."""

    def __init__(self, name: str = "", order: list[str] | None = None) -> None:
        self._name = name
        self._order = [] if order is None else order
        self.details: dict[str, Details | None] = {}

    def before(self, hook_context: HookContext, hints: HookHints) -> EvaluationContext | None:
        self._record("before")
        return None

    def after(self, hook_context: HookContext, details: Details, hints: HookHints) -> None:
        self._record("after", details)

    def error(self, hook_context: HookContext, exception: Exception, hints: HookHints) -> None:
        self._record("error")

    def finally_after(self, hook_context: HookContext, details: Details, hints: HookHints) -> None:
        self._record("finally", details)

    def _record(self, stage: str, details: Details | None = None) -> None:
        self.details[stage] = details
        self._order.append(f"{stage} {self._name}")


class World:
    """The state of one scenario.

    Args:
        environment: the environment of the flags, on a real server.
    """

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self.api_client = api.get_client()
        self.client: Client | None = None
        self.proxy: Proxy | None = None
        self.events = ProviderEvents()
        self.type = ""
        self.key = ""
        self.default: Any = None
        self.targeting_key: str | None = None
        self.attributes: dict[str, Any] = {}
        self.options: FlagEvaluationOptions | None = None
        self.recorder = HookRecorder()
        self.order: list[str] = []
        self.context: EvaluationContext | None = None
        self.release = ""
        self._details: Details | None = None

    def close(self) -> None:
        self.events.stop()
        api.clear_providers()
        self.close_client()

    # The provider

    def provide(self, state: str) -> None:
        """Set a provider in a state: stable, stale, not ready, error or fatal."""
        self.close_client()
        if state == "stable":
            api.set_provider_and_wait(self.provider())
        elif state == "stale":
            api.set_provider_and_wait(self.provider())
            self.become(bad_proxy.refuse)
            soon(
                lambda: self.status is ProviderStatus.STALE,
                "the provider notices the lost connection",
            )
        elif state == "not ready":
            api.set_provider(self.provider(bad_proxy.black_hole))
        elif state == "error":
            with contextlib.suppress(ProviderNotReadyError):
                api.set_provider_and_wait(self.provider(bad_proxy.black_hole, seconds=0.01))
        elif state == "fatal":
            with contextlib.suppress(ProviderFatalError):
                api.set_provider_and_wait(self.provider(token="tg_sdk_of_nobody"))
        else:
            raise AssertionError(f"unknown state: {state}")

    def provide_from_file(self) -> None:
        """Set a provider that starts without a server, with cached flags."""
        self.close_client()
        self.proxy = Proxy(self.environment.url)
        with TemporaryDirectory() as folder:
            path = Path(folder, "flags.json")
            with contextlib.closing(self._connect(cache_path=path)) as earlier:
                assert earlier.wait_until_ready(60)
            self.become(bad_proxy.refuse)
            provider = TidegateProvider(self._connect(cache_path=path))
        api.set_provider_and_wait(provider)

    def provider(
        self, mode: Mode = bad_proxy.pass_through, *, token: str = "", seconds: float = 60.0
    ) -> TidegateProvider:
        """Return a provider with a new client, whose connection behaves as ``mode`` says."""
        self.proxy = Proxy(self.environment.url)
        self.proxy.switch_to(mode)
        return TidegateProvider(self._connect(token), ready_seconds=seconds)

    def _connect(self, token: str = "", cache_path: Path | None = None) -> Client:
        assert self.proxy is not None
        token = token or self.environment.token
        self.client = Client(self.proxy.url, token, cache_path=cache_path)
        return self.client

    def close_client(self) -> None:
        """Close the provider's client and its proxy, if there are any."""
        if self.client is not None:
            self.client.close()
        if self.proxy is not None:
            self.proxy.close()

    def operation(self) -> Operation:
        """Return an operation of the provider's client."""
        assert self.client is not None
        return self.client.operation()

    def become(self, mode: Mode) -> None:
        assert self.proxy is not None
        self.proxy.switch_to(mode)

    @property
    def status(self) -> ProviderStatus:
        return self.api_client.get_provider_status()

    # The evaluation

    def set_flag(self, type: str, key: str, default: Any) -> None:
        self.type, self.key, self.default = type.lower(), key, default

    def evaluate(self) -> None:
        """Evaluate the flag with details."""
        self.context = EvaluationContext(self.targeting_key, self.attributes)
        get_details = getattr(self.api_client, f"get_{self.type}_details")
        self._details = get_details(self.key, self.default, self.context, self.options)

    def evaluate_asynchronously(self) -> None:
        """Evaluate the flag with details, asynchronously; it must complete without waiting."""
        self.context = EvaluationContext(self.targeting_key, self.attributes)
        get_details = getattr(self.api_client, f"get_{self.type}_details_async")
        try:
            get_details(self.key, self.default, self.context, self.options).send(None)
        except StopIteration as stop:
            self._details = stop.value
        else:
            raise AssertionError("the evaluation waits")

    @property
    def details(self) -> Details:
        assert self._details is not None, "no flag was evaluated"
        return self._details

    @property
    def value(self) -> Any:
        """The value, which must have the type asked for."""
        kinds = {"boolean": bool, "string": str, "integer": int, "float": float, "object": dict}
        assert type(self.details.value) is kinds[self.type], self.details
        return self.details.value

    # The release

    def outcomes(self) -> tuple[int, int]:
        """Return how many outcomes of the treatment the server counted, and how many errors."""
        arms = [each.treatment for each in self.environment.evidence(self.release).readings]
        return sum(arm.outcomes for arm in arms), sum(arm.errors for arm in arms)
