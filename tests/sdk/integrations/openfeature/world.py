"""What one scenario is about: a provider in some state, a question, and its answer."""

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
from tests.sdk.integrations.heard import Heard
from tests.sdk.server import Environment
from tests.waiting import soon

Details = FlagEvaluationDetails[Any]


def value_of(type: str, text: str) -> Any:
    """A value as a feature file writes it: quotes in it stand behind backslashes."""
    text = text.replace('\\"', '"')
    readers: dict[str, Callable[[str], Any]] = {
        "boolean": lambda text: {"true": True, "false": False}[text],
        "integer": int,
        "float": float,
        "double": float,
        "object": json.loads,
    }
    return readers.get(type.lower(), str)(text)


class Note(Hook):
    """A hook that notes in which stages it ran, and with which details."""

    def __init__(self, name: str = "", order: list[str] | None = None) -> None:
        self._name = name
        self._order = [] if order is None else order
        self.details: dict[str, Details | None] = {}

    def before(self, hook_context: HookContext, hints: HookHints) -> EvaluationContext | None:
        self._ran("before")
        return None

    def after(self, hook_context: HookContext, details: Details, hints: HookHints) -> None:
        self._ran("after", details)

    def error(self, hook_context: HookContext, exception: Exception, hints: HookHints) -> None:
        self._ran("error")

    def finally_after(self, hook_context: HookContext, details: Details, hints: HookHints) -> None:
        self._ran("finally", details)

    def _ran(self, stage: str, details: Details | None = None) -> None:
        self.details[stage] = details
        self._order.append(f"{stage} {self._name}")


class World:
    """One scenario's.

    Args:
        environment: where the flags are, on a real server.
    """

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self.questions = api.get_client()
        self.client: Client | None = None
        self.proxy: Proxy | None = None
        self.heard = Heard()
        self.type = ""
        self.key = ""
        self.default: Any = None
        self.targeting_key: str | None = None
        self.attributes: dict[str, Any] = {}
        self.options: FlagEvaluationOptions | None = None
        self.note = Note()
        self.order: list[str] = []
        self.context: EvaluationContext | None = None
        self.release = ""
        self._details: Details | None = None

    def close(self) -> None:
        self.heard.forget()
        api.clear_providers()
        self.leave()

    # The provider

    def provide(self, state: str) -> None:
        """Set a provider that is stable, stale, not ready, in error or fatal."""
        self.leave()
        if state == "stable":
            api.set_provider_and_wait(self.provider())
        elif state == "stale":
            api.set_provider_and_wait(self.provider())
            self.become(bad_proxy.refusing)
            soon(lambda: self.status is ProviderStatus.STALE, "the lost connection is noticed")
        elif state == "not ready":
            api.set_provider(self.provider(bad_proxy.black_hole))
        elif state == "error":
            with contextlib.suppress(ProviderNotReadyError):
                api.set_provider_and_wait(self.provider(bad_proxy.black_hole, seconds=0.01))
        elif state == "fatal":
            with contextlib.suppress(ProviderFatalError):
                api.set_provider_and_wait(self.provider(token="tg_sdk_of_nobody"))
        else:
            raise AssertionError(f"no provider is {state}")

    def provide_from_file(self) -> None:
        """Set a provider that has its flags from an earlier run, and no server."""
        self.leave()
        self.proxy = Proxy(self.environment.url)
        with TemporaryDirectory() as folder:
            path = Path(folder, "flags.json")
            with contextlib.closing(self._connect(cache_path=path)) as earlier:
                assert earlier.wait_until_ready(20)
            self.become(bad_proxy.refusing)
            provider = TidegateProvider(self._connect(cache_path=path))
        api.set_provider_and_wait(provider)

    def provider(
        self, mode: Mode = bad_proxy.passing, *, token: str = "", seconds: float = 60.0
    ) -> TidegateProvider:
        """A provider of a new client, whose connection does what ``mode`` says."""
        self.proxy = Proxy(self.environment.url)
        self.proxy.become(mode)
        return TidegateProvider(self._connect(token), ready_seconds=seconds)

    def _connect(self, token: str = "", cache_path: Path | None = None) -> Client:
        assert self.proxy is not None
        token = token or self.environment.token
        self.client = Client(self.proxy.url, token, cache_path=cache_path)
        return self.client

    def leave(self) -> None:
        """Part with the provider that there was."""
        if self.client is not None:
            self.client.close()
        if self.proxy is not None:
            self.proxy.close()

    def operation(self) -> Operation:
        """A unit of work of the provider's client."""
        assert self.client is not None
        return self.client.operation()

    def become(self, mode: Mode) -> None:
        assert self.proxy is not None
        self.proxy.become(mode)

    @property
    def status(self) -> ProviderStatus:
        return self.questions.get_provider_status()

    # The question

    def ask_about(self, type: str, key: str, default: Any) -> None:
        self.type, self.key, self.default = type.lower(), key, default

    def evaluate(self) -> None:
        """Ask, with details."""
        self.context = EvaluationContext(self.targeting_key, self.attributes)
        ask = getattr(self.questions, f"get_{self.type}_details")
        self._details = ask(self.key, self.default, self.context, self.options)

    def evaluate_asynchronously(self) -> None:
        """Ask, with details, for what must be there as soon as it is asked for."""
        self.context = EvaluationContext(self.targeting_key, self.attributes)
        ask = getattr(self.questions, f"get_{self.type}_details_async")
        try:
            ask(self.key, self.default, self.context, self.options).send(None)
        except StopIteration as answer:
            self._details = answer.value
        else:
            raise AssertionError("the evaluation waits for something")

    @property
    def details(self) -> Details:
        assert self._details is not None, "nothing was asked"
        return self._details

    @property
    def value(self) -> Any:
        """The answer, which is of the type that was asked for."""
        kinds = {"boolean": bool, "string": str, "integer": int, "float": float, "object": dict}
        assert type(self.details.value) is kinds[self.type], self.details
        return self.details.value

    # The release

    def outcomes(self) -> tuple[int, int]:
        """The outcomes of the treatment that the server has counted, and the errors in them."""
        arms = [each.treatment for each in self.environment.evidence(self.release).readings]
        return sum(arm.outcomes for arm in arms), sum(arm.errors for arm in arms)
