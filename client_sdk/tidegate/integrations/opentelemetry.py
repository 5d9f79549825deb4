"""Adds evaluations to the current span, by OpenTelemetry's conventions for feature flags."""

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
    """Add an event to the current span, if there is one, for every evaluation.

    The event has the variant's key but not its value, which may be large or secret.

    Args:
        client: the client whose evaluations are recorded.
        with_targeting_key: add the targeting key, which may be personal data.

    Returns:
        A function that stops it.
    """

    def record(details: EvaluationDetails[Any], context: Context) -> None:
        span = trace.get_current_span()
        if span.is_recording():
            span.add_event(EVENT, attributes(details, context if with_targeting_key else None))

    return client.observe(record)


def attributes(details: EvaluationDetails[Any], context: Context | None) -> dict[str, str]:
    """Return the attributes of an evaluation's event.

    Args:
        details: the evaluation.
        context: the context with the targeting key; None: leave it out.
    """
    values: dict[str, Any] = {
        "feature_flag.key": details.flag_key,
        "feature_flag.provider.name": PROVIDER,
        "feature_flag.result.variant": details.variant,
        "feature_flag.result.reason": details.reason.lower(),
        "feature_flag.version": details.metadata.get("flagVersion"),
        "feature_flag.context.id": None if context is None else context.targeting_key,
        "error.type": None if details.error_code is None else details.error_code.lower(),
        "feature_flag.error.message": details.error_message,
    }
    return {name: str(value) for name, value in values.items() if value is not None}
