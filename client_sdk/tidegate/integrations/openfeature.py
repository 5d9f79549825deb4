"""A provider for the OpenFeature SDK.

::

    from openfeature import api
    from tidegate.integrations.openfeature import TidegateProvider

    api.set_provider_and_wait(TidegateProvider(tidegate.Client()))

Evaluations through OpenFeature are exposures of the current operation, like all others.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec.structs import force_setattr
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
from tidegate.current_operation import current_operation
from tidegate.details import ClientEvent, EvaluationDetails

if TYPE_CHECKING:
    from tidegate.evaluation.results import Evaluation

T = TypeVar("T")
Structure = Sequence[FlagValueType] | Mapping[str, FlagValueType]

CHECK_SECONDS = 0.1
"""How often ``initialize`` checks whether the client can still become ready."""

FAILED_EVENT = "tidegate.failed"
"""Tracking an event of this name marks the current operation as failed."""

_new = object.__new__


class TidegateProvider(AbstractProvider):
    """An OpenFeature provider that evaluates with a Tidegate client.

    Tracking an event with a value reports it as a measure of the current operation
    (``Operation.measure``) under the event's name. Tracking ``tidegate.failed`` marks the
    operation as failed.

    Args:
        client: the client. ``shutdown`` closes it.
        ready_seconds: how long ``initialize`` waits for the first flags.
        hooks: OpenFeature hooks of this provider.
    """

    def __init__(
        self, client: Client, *, ready_seconds: float = 5.0, hooks: Sequence[Hook] = ()
    ) -> None:
        super().__init__()
        self._client = client
        self._ready_seconds = ready_seconds
        self._hooks = list(hooks)
        self._metadata = Metadata("tidegate")
        self._stop_listening: Callable[[], None] | None = None
        self._initializing = False
        self._ready = False  # as far as OpenFeature knows
        self._refusal = ""

    def get_metadata(self) -> Metadata:
        """Return the provider's name: ``tidegate``."""
        return self._metadata

    def get_provider_hooks(self) -> list[Hook]:
        """Return this provider's hooks."""
        return self._hooks

    def initialize(self, evaluation_context: EvaluationContext) -> None:
        """Wait for the first flags, unless only future uWSGI workers will connect.

        Raises:
            ProviderFatalError: the server does not accept the token.
            ProviderNotReadyError: no flags arrived in time; they may still arrive.
        """
        self._initializing = True
        if self._stop_listening is None:
            self._stop_listening = self._client.listen(self._on_event)
        deadline = time.monotonic() + self._ready_seconds
        while not self._client.wait_until_ready(min(CHECK_SECONDS, self._ready_seconds)):
            status = self._client.status()
            if status.state == "postponed":
                self._ready, self._initializing = True, False
                return
            if self._refusal or self._stop_listening is None or status.instance is None:
                break
            if status.state == "closed":
                break
            if time.monotonic() >= deadline:
                break
        # Twice: either this or _on_event must report flags that arrive at this moment.
        for ready in (True, False):
            self._ready, self._initializing = ready, False
            if self._has_flags():
                return
        if self._refusal:
            raise ProviderFatalError(f"Tidegate: {self._refusal}")
        cause = self._client.status().problem
        raise ProviderNotReadyError(
            f"Tidegate: no flags arrived in {self._ready_seconds:g} s"
            f"{f' ({cause})' if cause else ''}; evaluations return the defaults"
        )

    def shutdown(self) -> None:
        """Send the last report and close the client."""
        if self._stop_listening is not None:
            self._stop_listening()
            self._stop_listening = None
        self._client.close()

    def track(
        self,
        tracking_event_name: str,
        evaluation_context: EvaluationContext | None = None,
        tracking_event_details: TrackingEventDetails | None = None,
    ) -> None:
        """Record a value, or a failure, in the current operation."""
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
        evaluation = self._client._evaluate_boolean(flag_key, context)
        if evaluation is not None:
            return evaluation.converted or _converted(evaluation)
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

    def _on_event(self, event: ClientEvent) -> None:
        """Emit the OpenFeature event of a client's event."""
        if event.kind in ("ready", "refused"):
            self._refusal = event.message
        if self._initializing:
            return  # OpenFeature emits the event when initialize ends
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
                ProviderEventDetails(message=event.message, error_code=self._refusal_code())
            )
        elif self._has_flags():
            self._ready = False
            self.emit_provider_stale(ProviderEventDetails(message=event.message))

    def _refusal_code(self) -> ErrorCode:
        """Return the code of a refusal: after a fatal one OpenFeature evaluates no flag."""
        return ErrorCode.GENERAL if self._has_flags() else ErrorCode.PROVIDER_FATAL

    def _has_flags(self) -> bool:
        return self._client.wait_until_ready(0)


class _Resolution(FlagResolutionDetails[T]):
    """A resolution that becomes OpenFeature's details in half the time.

    Many evaluations can share one: OpenFeature's client changes only the details.
    """

    def to_flag_evaluation_details(self, flag_key: str) -> FlagEvaluationDetails[T]:
        # Positional arguments: keyword arguments take twice as long.
        return FlagEvaluationDetails(
            flag_key,
            self.value,
            self.variant,
            self.flag_metadata,
            self.reason,
            self.error_code,
            self.error_message,
        )


def _context(evaluation_context: EvaluationContext | None) -> Context:
    """Return the context of an evaluation, completed from the current operation's context.

    Attributes without another targeting key are added to those of the operation.
    """
    operation = current_operation()
    outer = NOBODY if operation is None else operation.context or operation.resolve_context()
    if evaluation_context is None:
        return outer
    key, attributes = evaluation_context.targeting_key, evaluation_context.attributes
    if key is None and not attributes:
        return outer
    if key is None or key == outer.targeting_key:
        if outer.attributes:
            attributes = {**outer.attributes, **attributes}
        # Without __init__, which takes twice as long: the key was checked before.
        context = _new(Context)
        context.targeting_key = outer.targeting_key
    else:
        context = Context(key or outer.targeting_key)
    context.attributes = attributes
    return context


def _converted(evaluation: Evaluation) -> FlagResolutionDetails[Any]:
    """Return an evaluation as a resolution, which is created once and kept with it."""
    resolution: FlagResolutionDetails[Any] = _Resolution(
        evaluation.value, None, None, evaluation.reason, evaluation.variant, evaluation.metadata
    )
    force_setattr(evaluation, "converted", resolution)
    return resolution


def _resolution(details: EvaluationDetails[T]) -> FlagResolutionDetails[T]:
    return _Resolution(
        details.value,
        None if details.error_code is None else ErrorCode(details.error_code),
        details.error_message,
        details.reason,
        details.variant,
        details.metadata,  # read-only: no copy is needed
    )
