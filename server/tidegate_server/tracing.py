"""Spans for OpenTelemetry: of requests, of calls of the store, and of the policy job's decisions.

They are off unless the environment configures an exporter, by OpenTelemetry's own variables; then
each process sends its spans to the collector that ``OTEL_EXPORTER_OTLP_ENDPOINT`` names. Nothing of
OpenTelemetry is imported while they are off. The packages are in the extra ``tracing``.

No span has a path, a query, a body, a token or a user: they have routes, names and numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol

from tidegate_server.errors import StartupRefused

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
    from opentelemetry.trace import SpanKind, Tracer
    from werkzeug.datastructures import Headers

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
PROTOCOL = "http/protobuf"
EXPORTERS = ("otlp", "console", "none")

PACKAGES = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")

SERVICE = "tidegate"
"""The name of the service, unless ``OTEL_SERVICE_NAME`` or a resource attribute says another."""


class Span(Protocol):
    """What a traced piece of work notes of itself."""

    def set_attribute(self, key: str, value: Any) -> None:
        """Note a value."""

    def update_name(self, name: str) -> None:
        """Change the span's name."""


class _NoSpan:
    """The span of work that is not traced."""

    def set_attribute(self, key: str, value: Any) -> None:
        """Do nothing."""

    def update_name(self, name: str) -> None:
        """Do nothing."""


NO_SPAN = _NoSpan()

_provider: TracerProvider | None = None
_tracer: Tracer | None = None


def exporter_of(environment: Mapping[str, str]) -> str:
    """Return where spans go: ``otlp``, ``console``, or ``none`` if they are off.

    Raises:
        StartupRefused: the variables ask for what there is not.
    """
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return "none"
    named = environment.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    if not named:
        named = "otlp" if any(environment.get(each) for each in ENDPOINTS) else "none"
    if named not in EXPORTERS:
        raise StartupRefused(
            f"OTEL_TRACES_EXPORTER is {named!r}; it is one of {', '.join(EXPORTERS)}."
        )
    protocol = next((environment[each] for each in PROTOCOLS if environment.get(each)), PROTOCOL)
    if named == "otlp" and protocol != PROTOCOL:
        raise StartupRefused(
            f"OTEL_EXPORTER_OTLP_PROTOCOL is {protocol!r}; Tidegate sends {PROTOCOL}, which "
            "collectors accept at port 4318."
        )
    return named


def check(environment: Mapping[str, str]) -> None:
    """Check that spans can be sent if the environment asks for it.

    Raises:
        StartupRefused: they cannot; the message says why.
    """
    if exporter_of(environment) != "none" and not all(map(_is_installed, PACKAGES)):
        raise StartupRefused(
            "The OTEL_ variables ask for traces, and OpenTelemetry is not installed. Install "
            '"tidegate[server,tracing]", or set OTEL_SDK_DISABLED=true.'
        )


def is_on() -> bool:
    """Return whether this process traces."""
    return _tracer is not None


def start(
    process: str, environment: Mapping[str, str], processor: SpanProcessor | None = None
) -> None:
    """Trace from now on, if the environment asks for it.

    Call it in the process that does the work, after a fork: a thread sends the spans.

    Args:
        process: what this process is: ``web`` or ``policy job``.
        environment: the environment variables.
        processor: gets the spans; None: what the environment asks for.
    """
    global _provider, _tracer  # one for each process, as in OpenTelemetry
    exporter = exporter_of(environment)
    if processor is None and exporter == "none":
        return
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider

    attributes = {"tidegate.process": process}
    named = "service.name=" in environment.get("OTEL_RESOURCE_ATTRIBUTES", "")
    if not (environment.get("OTEL_SERVICE_NAME") or named):
        attributes["service.name"] = SERVICE
    _provider = TracerProvider(resource=Resource.create(attributes))
    _provider.add_span_processor(processor or _processor(exporter))
    _tracer = _provider.get_tracer("tidegate_server")


def stop() -> None:
    """Send the spans that have ended, and trace no more."""
    global _provider, _tracer
    if _provider is not None:
        _provider.shutdown()
    _provider = _tracer = None


@contextmanager
def span(name: str, **attributes: Any) -> Iterator[Span]:
    """Trace what happens inside. The type of an exception is noted, and it goes on.

    Args:
        name: of the span; one of few.
        attributes: what is known at its start; ``a_b`` becomes ``tidegate.a_b``.
    """
    if _tracer is None:
        yield NO_SPAN
        return
    from opentelemetry.trace import SpanKind

    known = {f"tidegate.{key}": value for key, value in attributes.items()}
    with _started(name, SpanKind.INTERNAL, known) as traced:
        yield traced


@contextmanager
def store_span(command: str) -> Iterator[None]:
    """Trace a call of the store, if it is part of what is traced: feeds wait by themselves.

    Args:
        command: the command, the script, or ``pipeline`` for several commands.
    """
    if _tracer is None:
        yield
        return
    from opentelemetry.trace import SpanKind, get_current_span

    if not get_current_span().is_recording():
        yield
        return
    attributes = {"db.system.name": "valkey", "db.operation.name": command}
    with _started(f"store {command}", SpanKind.CLIENT, attributes):
        yield


@contextmanager
def _started(name: str, kind: SpanKind, attributes: Mapping[str, Any]) -> Iterator[Span]:
    from opentelemetry.trace import StatusCode

    assert _tracer is not None
    # Not the message of an exception: it may have an address with a password.
    with _tracer.start_as_current_span(
        name, None, kind, attributes, record_exception=False, set_status_on_exception=False
    ) as started:
        try:
            yield started
        except Exception as error:
            started.set_attribute("error.type", type(error).__name__)
            started.set_status(StatusCode.ERROR)
            raise


class RequestSpan:
    """The span of a request, from its arrival until its answer begins.

    Args:
        method: the HTTP method.
        headers: the request's headers; ``traceparent`` names the span of the caller.
    """

    __slots__ = ("_context", "_span", "_token")

    def __init__(self, method: str, headers: Headers) -> None:
        from opentelemetry import context, propagate, trace

        assert _tracer is not None
        # A request that the server makes to itself is part of the one that it answers.
        inner = trace.get_current_span().is_recording()
        self._context = context
        self._span = _tracer.start_span(
            method,
            context=None if inner else propagate.extract(headers),
            kind=trace.SpanKind.INTERNAL if inner else trace.SpanKind.SERVER,
            attributes={"http.request.method": method},
        )
        self._token = context.attach(trace.set_span_in_context(self._span))

    def end(self, route: str, status: int, request_id: str) -> None:
        """End it.

        Args:
            route: the route with its placeholders, never the path; empty: there is none.
            status: of the answer.
            request_id: the id that the log has, too.
        """
        from opentelemetry.trace import StatusCode

        if route:
            self._span.update_name(f"{self._span.name} {route}")  # type: ignore[attr-defined]
            self._span.set_attribute("http.route", route)
        self._span.set_attribute("http.response.status_code", status)
        self._span.set_attribute("tidegate.request_id", request_id)
        if status >= 500:
            self._span.set_status(StatusCode.ERROR)
        self._span.end()
        self._context.detach(self._token)


def request_span(method: str, headers: Headers) -> RequestSpan | None:
    """Begin the span of a request; None if nothing is traced."""
    return None if _tracer is None else RequestSpan(method, headers)


def _processor(exporter: str) -> SpanProcessor:
    from opentelemetry.sdk.trace.export import (
        BatchSpanProcessor,
        ConsoleSpanExporter,
        SimpleSpanProcessor,
    )

    if exporter == "console":
        return SimpleSpanProcessor(ConsoleSpanExporter())
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return BatchSpanProcessor(OTLPSpanExporter())


def _is_installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:  # of a package that it is in
        return False
