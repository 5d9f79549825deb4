"""Values from a real Prometheus, and from servers that misbehave."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs

import pytest
from prometheus_client import CollectorRegistry, Gauge, start_http_server
from tidegate.model import Tolerance
from tidegate_server.decisions.observations import Measured
from tidegate_server.domain.checks import Check, Compare, Metric, Operator
from tidegate_server.errors import QueryFailed
from tidegate_server.outbound.prometheus import Prometheus, fill_variables
from tidegate_server.policy_job import PolicyJob
from tidegate_server.policy_job.evidence_sources import EvidenceSources

from examples.shop.processes import free_port
from tests.policy_job.deployment import QUICK, Clock, Deployment
from tests.receiver import BREAK, DRIP, HANG, Answer, Behaviour, receiver
from tests.waiting import ready, until

PROGRAM = shutil.which("prometheus")
needs_prometheus = pytest.mark.skipif(
    PROGRAM is None, reason="Debian's package prometheus is not installed"
)
QUERY = 'sum(queue_length{flag="{{ flag }}", arm="{{ arm }}"})'
CHECK = Check(
    metric=Metric.PROMETHEUS,
    compare=Compare.ABSOLUTE,
    query=QUERY,
    operator=Operator.BELOW,
    threshold=100.0,
    failure_limit=0,
    error_limit=1,
)


class PrometheusWithGauge:
    """A real Prometheus that scrapes a gauge."""

    def __init__(self, url: str, gauge: Gauge) -> None:
        self.url = url
        self.gauge = gauge
        self.prometheus = Prometheus(url)

    def set_value(self, flag: str, arm: str, value: float) -> None:
        """Set the gauge, and wait until Prometheus has the value."""
        self.gauge.labels(flag, arm).set(value)
        self.until(f'queue_length{{flag="{flag}", arm="{arm}"}}', value)

    def until(self, query: str, expected: float) -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                if self.prometheus.value(query) == expected:
                    return
            except QueryFailed:
                pass
            time.sleep(0.1)
        raise AssertionError(f"{query} never became {expected}")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusWithGauge]:
    folder = tmp_path_factory.mktemp("prometheus")
    registry = CollectorRegistry()
    gauge = Gauge("queue_length", "waiting", ["flag", "arm"], registry=registry)
    exporter, port = free_port(), free_port()
    exporter_server, thread = start_http_server(exporter, "127.0.0.1", registry)
    targets = [{"targets": [f"127.0.0.1:{exporter}"]}]
    jobs = [{"job_name": "shop", "static_configs": targets}]
    config = {
        "global": {"scrape_interval": "200ms", "scrape_timeout": "200ms"},
        "scrape_configs": jobs,
    }
    (folder / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML
    process = subprocess.Popen(
        [
            *(str(PROGRAM), f"--config.file={folder}/prometheus.yml"),
            *(f"--storage.tsdb.path={folder}/data", f"--web.listen-address=127.0.0.1:{port}"),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        until(lambda: ready(url), "Prometheus is ready")
        yield PrometheusWithGauge(url, gauge)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        exporter_server.shutdown()
        thread.join()


@needs_prometheus
class TestRealPrometheus:
    def test_a_query_with_one_value_returns_it(self, server: PrometheusWithGauge) -> None:
        server.gauge.labels("checkout", "treatment").set(7)
        server.until('queue_length{flag="checkout", arm="treatment"}', 7.0)
        assert server.prometheus.value("scalar(vector(4.5))") == 4.5

    @pytest.mark.parametrize(
        ("query", "why"),
        [
            ("no_such_metric", "returned no series"),
            ("0/0 * vector(1)", "returned NaN"),
            ("vector(1)/0", "returned \\+Inf"),
            ("queue_length{", "Prometheus responded with 400"),
            ("up[5m]", "returned a matrix"),
            ('"text"', "returned a string"),
        ],
    )
    def test_a_query_without_one_number_is_unreadable(
        self, server: PrometheusWithGauge, query: str, why: str
    ) -> None:
        with pytest.raises(QueryFailed, match=why):
            server.prometheus.value(query)

    def test_several_series_are_unreadable(self, server: PrometheusWithGauge) -> None:
        for arm in ("control", "treatment"):
            server.gauge.labels("several", arm).set(1)
        server.until('sum(queue_length{flag="several"})', 2.0)
        with pytest.raises(QueryFailed, match="2 series; sum or pick"):
            server.prometheus.value('queue_length{flag="several"}')

    def test_a_query_can_be_about_an_earlier_time(self, server: PrometheusWithGauge) -> None:
        server.gauge.labels("earlier", "control").set(1)
        server.until('queue_length{flag="earlier"}', 1.0)
        earlier = round(time.time() * 1000)
        server.gauge.labels("earlier", "control").set(2)
        server.until('queue_length{flag="earlier"}', 2.0)
        assert server.prometheus.value('queue_length{flag="earlier"}', earlier) == 1.0

    def test_variables_are_filled_in_as_text(self, server: PrometheusWithGauge) -> None:
        strange = "a\"} or up{x='\\\n`é\N{CAT}"
        server.gauge.labels(strange, "control").set(3)
        names = {"flag": strange, "arm": "control"}
        for quote in "\"'":
            query = fill_variables(f"sum(queue_length{{flag={quote}{{{{ flag }}}}{quote}}})", names)
            server.until(query, 3.0)

    def test_a_bad_value_rolls_a_release_back(
        self, server: PrometheusWithGauge, deployment: Deployment
    ) -> None:
        checked = CheckedRelease(server, deployment, CHECK)
        server.set_value("checkout", "treatment", 5)
        assert checked.next_window() == (Measured(0, "treatment", 5.0),)
        assert deployment.release().state == "running"
        server.set_value("checkout", "treatment", 250)
        checked.next_window()
        assert deployment.release().state == "rolled_back"
        assert "prometheus < 100: 250, must be < 100" in deployment.release().reason

    def test_a_check_can_compare_the_arms(
        self, server: PrometheusWithGauge, deployment: Deployment
    ) -> None:
        check = replace(
            CHECK, compare=Compare.CONTROL, operator=Operator.AT_MOST, tolerance=Tolerance(0.5)
        )
        checked = CheckedRelease(server, deployment, check)
        server.set_value("checkout", "control", 1_000)
        server.set_value("checkout", "treatment", 1_400)
        assert checked.next_window() == (
            Measured(0, "treatment", 1_400.0),
            Measured(0, "control", 1_000.0),
        )
        assert deployment.ledger()[-1].decision.checks[0].limit == 1_500
        server.set_value("checkout", "treatment", 1_600)
        checked.next_window()
        assert deployment.release().state == "rolled_back"

    def test_a_check_can_compare_with_the_time_before(
        self, server: PrometheusWithGauge, deployment: Deployment
    ) -> None:
        server.set_value("checkout", "control", 40)
        check = replace(CHECK, compare=Compare.BEFORE, operator=Operator.AT_MOST)
        checked = CheckedRelease(server, deployment, check)
        server.set_value("checkout", "control", 90_000)
        server.set_value("checkout", "treatment", 44)
        assert checked.next_window() == (
            Measured(0, "treatment", 44.0),
            Measured(0, "before", 40.0),
        )
        assert deployment.ledger()[-1].decision.checks[0].limit == pytest.approx(42)

    def test_a_missing_value_holds_a_release(
        self, server: PrometheusWithGauge, deployment: Deployment
    ) -> None:
        check = replace(CHECK, query="no_such_metric", error_limit=1)
        checked = CheckedRelease(server, deployment, check)
        for _ in range(2):
            checked.next_window()
        assert deployment.release().state == "holding"
        assert "cannot be read: the query returned no series, 2 times in a row" in (
            deployment.release().reason
        )


class CheckedRelease:
    """A release with a check that queries a real Prometheus."""

    def __init__(self, server: PrometheusWithGauge, deployment: Deployment, check: Check) -> None:
        self.deployment = deployment
        deployment.start(replace(QUICK, checks=(check,)))
        self.clock = Clock(deployment.store.now_ms())
        self.job = PolicyJob(
            deployment.store, "job-1", self.clock, sources=EvidenceSources(server.prometheus)
        )

    def next_window(self) -> tuple[Measured, ...]:
        """Let a window pass; return the values that were read for it."""
        before = len(self.deployment.ledger())
        self.clock.now_ms += 1_000
        self.deployment.sdk.report(self.deployment.release(), (9, 0), (1, 0))
        deadline = time.monotonic() + 60
        while len(self.deployment.ledger()) == before:
            assert time.monotonic() < deadline
            self.job.tick()
            time.sleep(0.01)
        return self.deployment.ledger()[-1].window.measured


def vector(*samples: object) -> dict[str, Any]:
    result = [{"metric": {}, "value": sample} for sample in samples]
    return {"status": "success", "data": {"resultType": "vector", "result": result}}


class TestOtherServers:
    @pytest.mark.parametrize(
        ("behaviour", "why"),
        [
            (Answer(500, "oops"), "responded with 500, but not with JSON"),
            (Answer(200, "<html>"), "responded with 200, but not with JSON"),
            (Answer(200, "[" * 100_000), "responded with 200, but not with JSON"),
            (Answer(200, "1" * 2_000_000), "responded with 200, but not with JSON"),
            (
                Answer(302, "", (("Location", "http://127.0.0.1:1/"),)),
                "responded with 302, but not with JSON",
            ),
            (
                Answer(503, {"status": "error", "error": "over\n loaded"}),
                "responded with 503: over loaded",
            ),
            (Answer(500, vector([1, "3"])), "responded with 500: no success"),
            (Answer(200, []), "no success"),
            (Answer(200, {"status": "success"}), "without data"),
            (Answer(200, {"status": "success", "data": {"resultType": [1]}}), "something else"),
            (Answer(200, vector([1, "abc"])), "did not return a number"),
            (Answer(200, vector([1, "1_000"])), "did not return a number"),
            (Answer(200, vector([1, "1e999"])), "did not return a number"),
            (Answer(200, vector([1, 5])), "did not return a number"),
            (Answer(200, vector([1, True])), "did not return a number"),
            (Answer(200, vector([1])), "did not return a number"),
            (Answer(200, vector("x")), "did not return a number"),
            (Answer(200, vector([1, "NaN"])), "returned NaN"),
            (Answer(200, vector([1, "-Inf"])), "returned -Inf"),
            (Answer(200, vector()), "returned no series"),
            (BREAK, "is not valid HTTP, or it is incomplete"),
            (HANG, "no answer in 0.2 s"),
            (DRIP, "no answer in 0.2 s"),
        ],
    )
    def test_a_bad_answer_is_unreadable(self, behaviour: Behaviour, why: str) -> None:
        with receiver(behaviour) as other, pytest.raises(QueryFailed, match=why):
            Prometheus(other.origin).value("up", timeout_s=0.2 if behaviour in (HANG, DRIP) else 20)

    def test_a_closed_port_is_unreadable(self) -> None:
        with pytest.raises(QueryFailed, match="does not respond: connection refused"):
            Prometheus(f"http://127.0.0.1:{free_port()}").value("up")

    def test_the_request_has_the_address_the_token_and_the_time(self) -> None:
        with receiver(Answer(200, vector([1, "-3.5e2"]))) as other:
            prometheus = Prometheus(other.origin + "/prefix/", "secret")
            assert prometheus.value("a & b", 1_234_567) == -350.0
        (request,) = other.received
        assert request.path == "/prefix/api/v1/query"
        assert request.headers["Authorization"] == "Bearer secret"
        assert parse_qs(request.body.decode()) == {"query": ["a & b"], "time": ["1234.567"]}


def test_variables_cannot_break_out_of_their_quotes() -> None:
    names = {"flag": "a\"'\\", "arm": "treatment"}
    assert fill_variables('m{f="{{ flag }}",a="{{arm}}"}', names) == (
        'm{f="a\\U00000022\\U00000027\\U0000005c",a="treatment"}'
    )
