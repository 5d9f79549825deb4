"""Values from a real Prometheus, and from servers that are none."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import urllib3
from prometheus_client import CollectorRegistry, Gauge, start_http_server
from tidegate_server.domain.checks import Check, Compare, Metric, Operator
from tidegate_server.policy_job import PolicyJob
from tidegate_server.policy_job import prometheus as prometheus_module
from tidegate_server.policy_job import sources as sources_module
from tidegate_server.policy_job.prometheus import Prometheus, Unreadable, filled
from tidegate_server.policy_job.sources import Due, Sources, asks_outside

from examples.shop.processes import free_port
from tests.decisions.ramp import policy, release
from tests.policy_job.deployment import QUICK, Clock, Deployment

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


class World:
    """A real Prometheus that scrapes a real exporter."""

    def __init__(self, url: str, gauge: Gauge) -> None:
        self.url = url
        self.gauge = gauge
        self.prometheus = Prometheus(url)

    def until(self, query: str, wanted: float) -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                if self.prometheus.value(query) == wanted:
                    return
            except Unreadable:
                pass
            time.sleep(0.1)
        raise AssertionError(f"{query} never became {wanted}")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("prometheus")
    registry = CollectorRegistry()
    gauge = Gauge("queue_length", "waiting", ["flag", "arm"], registry=registry)
    exporter, port = free_port(), free_port()
    server, thread = start_http_server(exporter, "127.0.0.1", registry)
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
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            if urllib3.request("GET", f"{url}/-/ready", retries=False).status == 200:
                break
        except urllib3.exceptions.HTTPError:
            time.sleep(0.1)
    yield World(url, gauge)
    process.send_signal(signal.SIGTERM)
    process.wait(20)
    server.shutdown()
    thread.join()


@needs_prometheus
class TestARealOne:
    def test_gives_the_one_value_of_a_query(self, world: World) -> None:
        world.gauge.labels("checkout", "treatment").set(7)
        world.until('queue_length{flag="checkout", arm="treatment"}', 7.0)
        assert world.prometheus.value("scalar(vector(4.5))") == 4.5

    @pytest.mark.parametrize(
        ("query", "why"),
        [
            ("no_such_metric", "gives nothing"),
            ("0/0 * vector(1)", "gives NaN"),
            ("vector(1)/0", "gives \\+Inf"),
            ("queue_length{", "Prometheus answers 400"),
            ("up[5m]", "gives a matrix"),
            ('"text"', "gives a string"),
        ],
    )
    def test_gives_no_value_where_there_is_none(self, world: World, query: str, why: str) -> None:
        with pytest.raises(Unreadable, match=why):
            world.prometheus.value(query)

    def test_several_series_are_no_value(self, world: World) -> None:
        for arm in ("control", "treatment"):
            world.gauge.labels("several", arm).set(1)
        world.until('sum(queue_length{flag="several"})', 2.0)
        with pytest.raises(Unreadable, match="2 series; sum or pick"):
            world.prometheus.value('queue_length{flag="several"}')

    def test_can_be_asked_about_an_earlier_time(self, world: World) -> None:
        world.gauge.labels("earlier", "control").set(1)
        world.until('queue_length{flag="earlier"}', 1.0)
        earlier = round(time.time() * 1000)
        world.gauge.labels("earlier", "control").set(2)
        world.until('queue_length{flag="earlier"}', 2.0)
        assert world.prometheus.value('queue_length{flag="earlier"}', earlier) == 1.0

    def test_rolls_a_release_back(self, world: World, deployment: Deployment) -> None:
        world.gauge.labels("checkout", "treatment").set(5)
        world.until('queue_length{flag="checkout", arm="treatment"}', 5.0)
        deployment.start(replace(QUICK, checks=(CHECK,)))
        clock = Clock(deployment.store.now_ms())
        job = PolicyJob(deployment.store, "job-1", clock, sources=Sources(world.prometheus))

        def tick() -> None:
            clock.now_ms += 1_000
            deployment.sdk.report(deployment.release(), (9, 0), (1, 0))
            job.tick()

        tick()
        assert deployment.release().state == "running"
        world.gauge.labels("checkout", "treatment").set(250)
        world.until('queue_length{flag="checkout", arm="treatment"}', 250.0)
        tick()
        assert deployment.release().state == "rolled_back"
        assert "prometheus < 100: 250 where < 100 is healthy" in deployment.release().reason


def serving(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            answer(self)

        def log_message(self, format: str, *args: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def body(status: int, text: str) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(text)))
        handler.end_headers()
        handler.wfile.write(text.encode())

    return answer


def vector(*samples: object) -> str:
    result = [{"metric": {}, "value": sample} for sample in samples]
    return json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}})


class TestSomethingElse:
    @pytest.mark.parametrize(
        ("status", "text", "why"),
        [
            (500, "oops", "answers 500 and no JSON"),
            (200, "<html>", "answers 200 and no JSON"),
            (503, '{"status": "error", "error": "overloaded"}', "answers 503: overloaded"),
            (200, "[]", "no success"),
            (200, '{"status": "success"}', "without data"),
            (200, vector([1, "abc"]), "no number"),
            (200, vector([1]), "no number"),
            (200, vector("x"), "no number"),
        ],
    )
    def test_is_a_problem_and_never_a_value(self, status: int, text: str, why: str) -> None:
        served = serving(body(status, text))
        try:
            with pytest.raises(Unreadable, match=why):
                Prometheus(next(served)).value("up")
        finally:
            next(served, None)

    def test_a_token_is_sent(self) -> None:
        seen: list[str | None] = []

        def answer(handler: BaseHTTPRequestHandler) -> None:
            seen.append(handler.headers["Authorization"])
            body(200, vector([1, "3"]))(handler)

        served = serving(answer)
        assert Prometheus(next(served), "secret").value("up") == 3.0
        next(served, None)
        assert seen == ["Bearer secret"]

    def test_nobody_there_is_a_problem(self) -> None:
        with pytest.raises(Unreadable, match="does not answer"):
            Prometheus(f"http://127.0.0.1:{free_port()}").value("up")


def due(*checks: Check, **changes: Any) -> Due:
    return Due("production", release(replace(policy(10, 100), checks=checks), **changes))


class TestSources:
    def test_a_source_that_hangs_is_given_up_and_the_others_are_kept(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sources_module, "PATIENCE_SECONDS", 0.3)
        free = threading.Event()

        def answer(handler: BaseHTTPRequestHandler) -> None:
            asked = handler.rfile.read(int(handler.headers["Content-Length"]))
            if b"slow" in asked:
                free.wait(20)
            body(200, vector([1, "5"]))(handler)

        served = serving(answer)
        sources = Sources(Prometheus(next(served)))
        quick, slow = replace(CHECK, query="quick"), replace(CHECK, query="slow")
        found = sources.measure([due(quick, slow)])["rel_1"]
        assert [each.value for each in found] == [5.0, None]
        assert found[1].problem == "Prometheus did not answer in 0.3 s"
        free.set()
        sources.close()
        next(served, None)

    def test_without_a_prometheus_there_is_never_a_value(self) -> None:
        (measured,) = Sources().measure([due(CHECK)])["rel_1"]
        assert measured.value is None
        assert "TIDEGATE_PROMETHEUS_URL" in measured.problem

    def test_releases_without_such_checks_ask_nothing(self) -> None:
        assert Sources().measure([due(Check())]) == {}
        assert not asks_outside(due(Check()).release)
        assert asks_outside(due(CHECK).release)
        assert not asks_outside(due(CHECK, closed=True).release)

    def test_the_time_before_is_that_of_the_start(self, monkeypatch: pytest.MonkeyPatch) -> None:
        asked: list[tuple[str, int | None]] = []

        def value(self: Prometheus, query: str, at_ms: int | None = None) -> float:
            asked.append((query, at_ms))
            return 1.0

        monkeypatch.setattr(prometheus_module.Prometheus, "value", value)
        before = replace(CHECK, compare=Compare.BEFORE)
        control = replace(CHECK, compare=Compare.CONTROL)
        Sources(Prometheus("http://unused")).measure([due(before, control, started_ms=5_000)])
        assert sorted(asked, key=str) == [
            ('sum(queue_length{flag="checkout", arm="control"})', 5_000),
            ('sum(queue_length{flag="checkout", arm="control"})', None),
            ('sum(queue_length{flag="checkout", arm="treatment"})', None),
            ('sum(queue_length{flag="checkout", arm="treatment"})', None),
        ]


def test_variables_cannot_break_out_of_their_quotes() -> None:
    names = {"flag": 'a"} or up{x="\\\n', "arm": "treatment"}
    assert filled('m{f="{{ flag }}",a="{{arm}}"}', names) == (
        'm{f="a\\"} or up{x=\\"\\\\\\n",a="treatment"}'
    )
