"""A provider for the OpenFeature SDK: its users keep their code and get Tidegate's releases.

::

    from openfeature import api
    from tidegate.integrations.openfeature import TidegateProvider

    api.set_provider_and_wait(TidegateProvider(tidegate.Client()))

Evaluations through OpenFeature count as exposures of the current operation like any others.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from openfeature.evaluation_context import EvaluationContext
from openfeature.event import ProviderEventDetails
from openfeature.exception import ErrorCode, ProviderFatalError, ProviderNotReadyError
from openfeature.flag_evaluation import (
    FlagEvaluationDetails,
    FlagResolutionDetails,
    FlagValueType,
)
from openfeature.hook import Hook
from openfeature.provider import AbstractProvider, Metadata
from openfeature.track import TrackingEventDetails

from tidegate.client import Client
from tidegate.context import NOBODY, Context
from tidegate.details import ClientEvent, EvaluationDetails
from tidegate.operation import current

if TYPE_CHECKING:
    from tidegate.evaluation.results import Evaluation

T = TypeVar("T")
Structure = Sequence[FlagValueType] | Mapping[str, FlagValueType]

LOOK_SECONDS = 0.1
"""How often ``initialize`` looks whether waiting has become useless."""

FAILED_EVENT = "tidegate.failed"
"""A tracked event of this name says that the current operation failed."""

_operation = current.get
_new = object.__new__


class TidegateProvider(AbstractProvider):
    """Answers OpenFeature's questions from a client's memory.

    Tracking an event with a value reports it as a custom value of the current operation
    (``Operation.measure``) under the event's name; the event ``tidegate.failed`` makes the
    operation an error.

    Args:
        client: whose flags are asked for. ``shutdown`` closes it.
        ready_seconds: how long ``initialize`` waits for the first flags.
        hooks: OpenFeature hooks that belong to this provider.
    """

    def __init__(
        self, client: Client, *, ready_seconds: float = 5.0, hooks: Sequence[Hook] = ()
    ) -> None:
        super().__init__()
        self._client = client
        self._ready_seconds = ready_seconds
        self._hooks = list(hooks)
        self._metadata = Metadata("tidegate")
        self._forget: Callable[[], None] | None = None
        self._waiting = False
        self._ready = False  # as far as OpenFeature knows
        self._refused = ""

    def get_metadata(self) -> Metadata:
        """Return the provider's name."""
        return self._metadata

    def get_provider_hooks(self) -> list[Hook]:
        """Return the hooks that were given."""
        return self._hooks

    def initialize(self, evaluation_context: EvaluationContext) -> None:
        """Wait for the first flags; where only workers to come will ask for them, do not.

        Raises:
            ProviderFatalError: the server does not take the token.
            ProviderNotReadyError: no flags came in time; they may still come.
        """
        self._waiting = True
        if self._forget is None:
            self._forget = self._client.listen(self._hear)
        deadline = time.monotonic() + self._ready_seconds
        while not self._client.wait_until_ready(min(LOOK_SECONDS, self._ready_seconds)):
            status = self._client.status()
            if status.state == "postponed":
                self._ready, self._waiting = True, False
                return
            if self._refused or self._forget is None or status.instance is None:
                break
            if time.monotonic() >= deadline:
                break
        # A last look, twice: flags that come just now are told of here or by _hear, not by neither.
        for known in (True, False):
            self._ready, self._waiting = known, False
            if self._has_flags():
                return
        if self._refused:
            raise ProviderFatalError(f"Tidegate: {self._refused}")
        raise ProviderNotReadyError(
            f"Tidegate: no flags came in {self._ready_seconds:g} s; defaults are in force"
        )

    def shutdown(self) -> None:
        """Report what has not been reported and stop."""
        if self._forget is not None:
            self._forget()
            self._forget = None
        self._client.close()

    def track(
        self,
        tracking_event_name: str,
        evaluation_context: EvaluationContext | None = None,
        tracking_event_details: TrackingEventDetails | None = None,
    ) -> None:
        """Count a value, or a failure, for the operation in which this happens."""
        if tracking_event_name == FAILED_EVENT:
            self._client.fail()
        elif tracking_event_details is not None and tracking_event_details.value is not None:
            self._client.measure(tracking_event_name, tracking_event_details.value)

    def resolve_boolean_details(
        self,
        flag_key: str,
        default_value: bool,
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[bool]:
        """Resolve a boolean flag."""
        context = _context(evaluation_context)
        answer = self._client._evaluate_boolean(flag_key, context)
        if answer is not None:
            return answer.converted or _converted(answer)
        return _resolution(self._client.boolean_details(flag_key, default_value, context))

    def resolve_string_details(
        self,
        flag_key: str,
        default_value: str,
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[str]:
        """Resolve a string flag."""
        context = _context(evaluation_context)
        return _resolution(self._client.string_details(flag_key, default_value, context))

    def resolve_integer_details(
        self,
        flag_key: str,
        default_value: int,
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[int]:
        """Resolve a number flag whose value is whole."""
        context = _context(evaluation_context)
        return _resolution(self._client.integer_details(flag_key, default_value, context))

    def resolve_float_details(
        self,
        flag_key: str,
        default_value: float,
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[float]:
        """Resolve a number flag."""
        context = _context(evaluation_context)
        return _resolution(self._client.float_details(flag_key, default_value, context))

    def resolve_object_details(
        self,
        flag_key: str,
        default_value: Structure,
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[Structure]:
        """Resolve an object flag."""
        context = _context(evaluation_context)
        return _resolution(self._client.object_details(flag_key, default_value, context))

    def _hear(self, event: ClientEvent) -> None:
        """Tell OpenFeature what happened to the client."""
        if event.kind in ("ready", "refused"):
            self._refused = event.message
        if self._waiting:
            return  # OpenFeature itself tells how that ends
        if event.kind == "changed":
            self.emit_provider_configuration_changed(
                ProviderEventDetails(flags_changed=sorted(event.flags))
            )
        elif event.kind == "ready":
            if not self._ready:
                self._ready = True
                self.emit_provider_ready(ProviderEventDetails())
        elif event.kind == "refused":
            self._ready = False
            self.emit_provider_error(
                ProviderEventDetails(message=event.message, error_code=self._gravity())
            )
        elif self._has_flags():
            self._ready = False
            self.emit_provider_stale(ProviderEventDetails(message=event.message))

    def _gravity(self) -> ErrorCode:
        """How bad a refusal is: after a fatal one OpenFeature asks for no flag any more."""
        return ErrorCode.GENERAL if self._has_flags() else ErrorCode.PROVIDER_FATAL

    def _has_flags(self) -> bool:
        return self._client.wait_until_ready(0)


class _Resolution(FlagResolutionDetails[T]):
    """A resolution that becomes OpenFeature's details in half the time.

    It may be told to many: OpenFeature's client reads it and changes only the details.
    """

    def to_flag_evaluation_details(self, flag_key: str) -> FlagEvaluationDetails[T]:
        # By position: by name it takes twice as long.
        return FlagEvaluationDetails(
            flag_key,
            self.value,
            self.variant,
            self.flag_metadata,
            self.reason,
            self.error_code,
            self.error_message,
        )


def _context(given: EvaluationContext | None) -> Context:
    """The context of a question: the current operation's where it says nothing.

    Attributes without a targeting key are added to those of the current operation.
    """
    operation = _operation()
    around = NOBODY if operation is None else operation.context or operation.resolve_context()
    if given is None:
        return around
    key, attributes = given.targeting_key, given.attributes
    if key is None and not attributes:
        return around
    if key is None or key == around.targeting_key:
        if around.attributes:
            attributes = {**around.attributes, **attributes}
        # Not made the usual way, which takes twice as long: the key has been looked at before.
        context = _new(Context)
        context.targeting_key = around.targeting_key
    else:
        context = Context(key or around.targeting_key)
    context.attributes = attributes
    return context


def _converted(answer: Evaluation) -> FlagResolutionDetails[Any]:
    """Return an answer as a resolution, made once and kept with it."""
    resolution: FlagResolutionDetails[Any] = _Resolution(
        answer.value, None, None, answer.reason, answer.variant, answer.metadata
    )
    object.__setattr__(answer, "converted", resolution)
    return resolution


def _resolution(found: EvaluationDetails[T]) -> FlagResolutionDetails[T]:
    return _Resolution(
        found.value,
        None if found.error_code is None else ErrorCode(found.error_code),
        found.error_message,
        found.reason,
        found.variant,
        found.metadata,  # it cannot be changed, so it need not be copied
    )
