"""Evaluations as events of the current span, by OpenTelemetry's conventions for feature flags."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from opentelemetry import trace

from tidegate.client import Client
from tidegate.context import Context
from tidegate.details import EvaluationDetails

EVENT = "feature_flag.evaluation"
PROVIDER = "tidegate"


def instrument(client: Client, *, with_targeting_key: bool = False) -> Callable[[], None]:
    """Add an event to the current span for every evaluation; without a span nothing happens.

    The value itself is not recorded, only its variant's name: values may be large, or secret.

    Args:
        client: whose evaluations are recorded.
        with_targeting_key: whether the event says for whom; a key may be personal.

    Returns:
        A function that ends it.
    """

    def record(details: EvaluationDetails[Any], context: Context) -> None:
        span = trace.get_current_span()
        if span.is_recording():
            span.add_event(EVENT, attributes(details, context if with_targeting_key else None))

    return client.observe(record)


def attributes(details: EvaluationDetails[Any], context: Context | None) -> dict[str, str]:
    """Return an evaluation's attributes; without a context they do not say for whom it was."""
    found: dict[str, Any] = {
        "feature_flag.key": details.flag_key,
        "feature_flag.provider.name": PROVIDER,
        "feature_flag.result.variant": details.variant,
        "feature_flag.result.reason": details.reason.lower(),
        "feature_flag.version": details.metadata.get("flagVersion"),
        "feature_flag.context.id": None if context is None else context.targeting_key,
        "error.type": None if details.error_code is None else details.error_code.lower(),
        "feature_flag.error.message": details.error_message,
    }
    return {name: str(value) for name, value in found.items() if value is not None}
