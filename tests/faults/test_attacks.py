"""What hostile holders of each kind of secret try against a real server, in a short form.

One server holds two projects. Strangers, page visitors, applications, people with a writer token
and monitoring systems attack it from one of them. Nothing that they do reaches the other project,
decides its release, stops the server, or fools its log.
"""

from __future__ import annotations

import json
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3
from tidegate_server.errors import StartupRefused
from tidegate_server.store.data_folder import DataFolder

from tests.ofrep_clients.server import TOKEN, Server, Shop
from tests.waiting import until

HUGE = 2**63 - 1
BIDI = "\u202e"

PUBLIC = {
    "/health/live",
    "/health/ready",
    "/metrics",
    "/openapi.json",
    "/api/v1/sign-in",
    "/api/v1/sign-in/link",
    "/api/v1/sign-in/with/checkout/callback",
    "/api/v1/sign-in/with/checkout/sign-out",
    "/api/v1/device-sign-ins",
    "/api/v1/device-sign-ins/token",
    "/api/v1/invitations/accept",
    "/api/v1/shared/default/checkout",
}
"""Paths that answer without a token; what they do takes a password, an invitation, the word of an
identity provider, an approval or the secret of a link."""

INNER_URLS = (
    "http://127.0.0.1/",
    "http://2130706433/",
    "http://0x7f.1/",
    "http://[::ffff:127.0.0.1]/",
    "http://169.254.169.254/latest/meta-data/",
    "http://10.0.0.1/",
    "http://127.0.0.1./",
    "file:///etc/passwd",
    "http://user:password@example.com/",
)

ODD_HEADERS = (
    {"If-Match": ""},
    {"If-Match": '"'},
    {"If-Match": 'W/"' + "9" * 400 + '"'},
    {"If-None-Match": "*, \x00".replace("\x00", "%00")},
    {"Content-Length": "0", "Content-Type": "application/json; charset=utf-99"},
    {"Content-Type": "multipart/form-data; boundary="},
    {"Content-Encoding": "gzip"},
    {"Accept": "*/*;q=NaN", "Accept-Encoding": "identity;q=-1"},
    {"Last-Event-ID": "-1e999"},
    {"Last-Event-ID": "9" * 4_000},
    {"X-Forwarded-For": "::1, ,127.0.0.1", "X-Forwarded-Proto": "javascript"},
    {"X-Forwarded-Host": "evil.example"},
    {"X-Request-ID": "a" * 5_000},
    {"Origin": "null", "Access-Control-Request-Method": "TRACE"},
    {"Range": "bytes=5-1", "Expect": "nonsense"},
    {"Cookie": "=;" * 500},
)


class Attacker:
    """Sends requests as somebody with one secret, or with none.

    Args:
        server: the target.
        secret: a token, or a hook's secret.
        address: the attacker's address, as the proxy in front of the server sees it.
    """

    def __init__(self, server: Server, secret: str | None, address: str = "203.0.113.66") -> None:
        self._url = server.url
        self._headers = {"X-Forwarded-For": address}
        if secret is not None:
            self._headers["Authorization"] = f"Bearer {secret}"
        self._http = urllib3.PoolManager(timeout=60.0, retries=False)

    def send(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> urllib3.BaseHTTPResponse:
        """Send a request; the answer is never the server's own failure."""
        sent = {**self._headers, **headers}
        data = body
        if body is not None and not isinstance(body, bytes):
            data = json.dumps(body).encode()
            sent.setdefault("Content-Type", "application/json")
        answer = self._http.request(method, self._url + path, body=data, headers=sent)
        assert answer.status < 500 or answer.status == 503, (method, path, headers, answer.data)
        return answer

    def status(self, method: str, path: str, body: Any = None, **headers: str) -> int:
        """Send a request and return the status of the answer."""
        return self.send(method, path, body, **headers).status


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="tg-attack-"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    started = Server(folder)
    try:
        started.start()
        yield started
    finally:
        started.stop()


@pytest.fixture(scope="module")
def victim(server: Server) -> Shop:
    """The project that nobody here has a secret of."""
    return server.shop()


@pytest.fixture(scope="module")
def release(victim: Shop) -> str:
    return victim.release(interval="500ms", no_data={"after": "1h", "action": "hold"})


@pytest.fixture(scope="module")
def shop(server: Server) -> Shop:
    """The project that the attackers have secrets of."""
    return server.shop()


@pytest.fixture(scope="module")
def own_release(shop: Shop) -> str:
    return shop.release(interval="500ms", no_data={"after": "1h", "action": "hold"})


@pytest.fixture(autouse=True)
def victim_is_unharmed(victim: Shop, release: str) -> Iterator[None]:
    """After every attack the victim's release is as before, and nobody counted for it."""
    before = victim.state(release)
    yield
    after = victim.state(release)
    for field in ("state", "stage", "openings"):
        assert after[field] == before[field], field
    if after["progress"] is not None:
        assert after["progress"]["treatment"]["outcomes"] == 0


@pytest.fixture
def still_evaluated(victim: Shop, release: str) -> Iterator[None]:
    """After the attack the victim's release is still evaluated."""
    yield
    evaluate_again(victim, release)


def evaluate_again(shop: Shop, release: str, times: int = 1) -> None:
    """Wait until a release has been evaluated some more times."""

    def windows() -> int:
        progress = shop.state(release)["progress"]
        return 0 if progress is None else int(progress["windows"])

    before = windows()
    until(lambda: windows() >= before + times, "the next evaluation")


def report(instance: int = 0, **change: Any) -> dict[str, Any]:
    return {
        "schema": 1,
        "instance": f"{instance:032x}",
        "sequence": 1,
        "continues": False,
        "version": 0,
        "interval": 10.0,
        "sdk": "tidegate-python/0.1.0",
        "host": "web-1",
        "pid": 42,
        "counts": [],
        "failing": [],
        **change,
    }


def counts(release: str, step: int = 1, stratum: int = 1, **arm: int) -> dict[str, Any]:
    each = {"exposures": 5, "outcomes": 5, "errors": 0, "microseconds": 5, **arm}
    return {
        "release": release,
        "step": step,
        "stratum": stratum,
        "control": each,
        "treatment": each,
    }


# An anonymous peer --------------------------------------------------------------------


def operations(server: Server) -> list[tuple[str, str]]:
    """Return every method and path of the OpenAPI document, with names that may exist."""
    document = urllib3.request("GET", f"{server.url}/openapi.json").json()
    names = {"{project}": "default", "{environment}": "production"}
    found = []
    for path, item in document["paths"].items():
        for name, value in names.items():
            path = path.replace(name, value)
        while "{" in path:
            path = path[: path.index("{")] + "checkout" + path[path.index("}") + 1 :]
        found += [(method.upper(), path) for method in item if method in METHODS]
    return found


METHODS = ("get", "post", "put", "patch", "delete")


def test_a_stranger_gets_nothing_from_any_route(server: Server) -> None:
    stranger = Attacker(server, None)
    every = operations(server)
    assert len(every) > 50
    open_to_all = {
        path for method, path in every if stranger.status(method, path, {}) not in (401, 403, 404)
    }
    assert open_to_all <= PUBLIC


@pytest.mark.parametrize(
    "guess",
    [
        "",
        "x",
        TOKEN[:-1],
        TOKEN + "x",
        TOKEN.upper(),
        TOKEN + "\t" + TOKEN,
        "tg_admin_" + "0" * 5_000,
        "tg_reader_0123456789ab_" + "c" * 48,
        "*",
        "' or '1'='1",
    ],
)
def test_a_guessed_token_is_refused_with_the_same_words(server: Server, guess: str) -> None:
    refused = Attacker(server, guess).send("GET", "/api/v1/projects")
    wrong = Attacker(server, "tg_reader_0123456789ab_" + "d" * 48).send("GET", "/api/v1/projects")
    assert refused.status in (400, 401)
    if refused.status == 401:
        assert refused.json()["type"] == wrong.json()["type"]
        assert "projects" not in refused.json().get("detail", "")


@pytest.mark.parametrize("headers", ODD_HEADERS, ids=str)
def test_odd_headers_never_break_the_server(
    server: Server, shop: Shop, headers: dict[str, str]
) -> None:
    admin = Attacker(server, TOKEN)
    flag = f"{shop.production}/flags/checkout"
    for method, path, body in (
        ("GET", flag, None),
        ("PUT", flag, {"enabled": True}),
        ("DELETE", f"/api/v1/projects/{shop.project}/flags/absent", None),
        ("GET", "/sdk/v1/snapshot", None),
        ("POST", "/ofrep/v1/evaluate/flags", {"context": {"targetingKey": "u"}}),
        ("OPTIONS", "/ofrep/v1/evaluate/flags", None),
        ("POST", "/sdk/v1/reports", report()),
    ):
        admin.send(method, path, body, **headers)


# A page's visitor ---------------------------------------------------------------------


def test_a_pages_token_changes_nothing_and_reads_only_its_flags(server: Server, shop: Shop) -> None:
    visitor = Attacker(server, shop.token("client"))
    reached = {
        (method, path)
        for method, path in operations(server)
        if not path.startswith("/ofrep/")
        and path not in PUBLIC
        and visitor.status(method, path.replace("/default/", f"/{shop.project}/"), {}) < 400
    }
    assert reached == set()
    shop.add({"key": "secret-plan", "type": "boolean", "client_side": False})
    shop.settle()
    body = {"context": {"targetingKey": "u"}}
    one = visitor.send("POST", "/ofrep/v1/evaluate/flags/secret-plan", body)
    assert one.status == 404
    assert "secret-plan" not in visitor.send("POST", "/ofrep/v1/evaluate/flags", body).data.decode()


def test_one_visitor_cannot_use_up_the_requests_of_the_others(server: Server, shop: Shop) -> None:
    token = shop.token("client", rate_limit=20)
    body = {"context": {"targetingKey": "hot"}}
    hot = Attacker(server, token, "203.0.113.1")
    statuses = [hot.status("POST", "/ofrep/v1/evaluate/flags", body) for _ in range(150)]
    assert 429 in statuses
    others = [
        Attacker(server, token, f"198.51.100.{number}").status(
            "POST", "/ofrep/v1/evaluate/flags", {"context": {"targetingKey": f"u-{number}"}}
        )
        for number in range(5)
    ]
    assert others == [200] * 5


@pytest.mark.usefixtures("still_evaluated")
def test_forged_outcomes_of_clients_decide_nothing(
    server: Server, shop: Shop, own_release: str
) -> None:
    visitor = Attacker(server, shop.token("client", rate_limit=10_000))
    shop.settle()
    accepted = 0
    for number in range(60):
        context = {"targetingKey": f"invented-{number}"}
        body = {"context": context, "flags": {"checkout": "on"}, "outcome": "error"}
        accepted += visitor.status("POST", "/ofrep/v1/track", body) == 202
    assert accepted > 0
    evaluate_again(shop, own_release, times=3)
    state = shop.state(own_release)
    assert state["stage"]["number"] == 1
    assert state["state"] in ("running", "holding")
    assert state["progress"]["treatment"]["outcomes"] == 0


# An application's token ---------------------------------------------------------------


@pytest.mark.usefixtures("still_evaluated")
def test_invented_groups_and_steps_are_not_kept(
    server: Server, shop: Shop, own_release: str, victim: Shop, release: str
) -> None:
    application = Attacker(server, shop.token("sdk"))
    invented = [counts(own_release, step=step, stratum=9) for step in range(2, 2_000)]
    invented += [counts(release, step=step) for step in range(1, 1_000)]
    answer = application.send("POST", "/sdk/v1/reports", report(1, counts=invented))
    assert answer.status in (200, 413, 422)
    if answer.status == 200:
        assert answer.json()["ignored"] == len(invented)


@pytest.mark.usefixtures("still_evaluated")
def test_huge_counts_neither_overflow_nor_break_honest_reports(
    server: Server, shop: Shop, own_release: str
) -> None:
    application = Attacker(server, shop.token("sdk"))
    for instance, arm in enumerate(
        (
            {"exposures": HUGE, "outcomes": HUGE},
            {"microseconds": HUGE},
            {"exposures": -1},
            {"outcomes": 6},
            {"errors": 6},
        ),
        start=10,
    ):
        body = report(instance, counts=[counts(own_release, **arm)])
        assert application.status("POST", "/sdk/v1/reports", body) == 422, arm
    honest = report(20, counts=[counts(own_release)])
    for _ in range(3):
        assert application.status("POST", "/sdk/v1/reports", honest) == 200
    until(lambda: shop.state(own_release)["progress"]["treatment"]["outcomes"] == 5)


def test_an_application_reads_and_changes_nothing_but_its_environment(
    server: Server, shop: Shop, victim: Shop
) -> None:
    application = Attacker(server, shop.token("sdk"))
    kill = application.status("POST", f"{shop.production}/flags/checkout/kill", {})
    assert kill == 403
    assert application.status("GET", f"{victim.production}/flags") in (403, 404)
    snapshot = application.send("GET", "/sdk/v1/snapshot").json()
    assert snapshot["project"] == shop.project


def writer_token(shop: Shop) -> str:
    """Return a token that may write everything in a project."""
    body = {"name": "eve", "role": "writer", "project": shop.project}
    return str(shop.server.call("POST", "/api/v1/tokens", body)["secret"])


# A writer's token ---------------------------------------------------------------------


@pytest.mark.parametrize("url", INNER_URLS)
def test_a_webhook_cannot_point_inward(server: Server, shop: Shop, url: str) -> None:
    writer = Attacker(server, writer_token(shop))
    webhooks = f"/api/v1/projects/{shop.project}/webhooks"
    answer = writer.send("POST", webhooks, {"key": "inner", "url": url})
    assert answer.status == 422, answer.data
    assert [each["pointer"] for each in answer.json()["errors"]] == ["/url"]


def test_a_writer_reaches_neither_other_projects_nor_tokens(
    server: Server, shop: Shop, victim: Shop, release: str
) -> None:
    writer = Attacker(server, writer_token(shop))
    attempts = [
        ("POST", "/api/v1/tokens", {"name": "mine", "role": "admin", "whole_server": True}),
        ("GET", "/api/v1/tokens", None),
        ("POST", "/api/v1/projects", {"key": "mine"}),
        ("DELETE", f"/api/v1/projects/{victim.project}", None),
        ("POST", f"{victim.production}/flags/checkout/kill", {}),
        ("POST", f"{victim.production}/releases/{release}/complete", {}),
        ("POST", f"{shop.production}/releases/{release}/rollback", {}),
        ("PUT", f"{victim.production}/flags/checkout", {"enabled": False}),
    ]
    for method, path, body in attempts:
        assert writer.status(method, path, body, **{"If-Match": "*"}) in (403, 404, 405), path


def test_a_writer_cannot_turn_a_kill_around(server: Server, shop: Shop, own_release: str) -> None:
    writer = Attacker(server, writer_token(shop))
    flag = f"{shop.production}/flags/checkout"
    present = shop.server.call("GET", flag)
    document = {name: present[name] for name in WRITABLE}
    for field in ("kill_variant", "off_variant"):
        refused = writer.send("PUT", flag, {**document, field: "on"}, **{"If-Match": "*"})
        assert refused.status == 422
        assert [each["pointer"] for each in refused.json()["errors"]] == [f"/{field}"]
    never_fails = {"key": "lax", "checks": [{"tolerance": {"relative": 1_000}}]}
    body = {**never_fails, "stages": [{"percentage": 5}, {"percentage": 100}]}
    refused = writer.send("POST", f"/api/v1/projects/{shop.project}/policies", body)
    assert refused.status == 422
    assert refused.json()["errors"][0]["pointer"] == "/checks/0/tolerance/relative"


WRITABLE = ("enabled", "off_variant", "kill_variant", "default", "rules", "prerequisites")

HEAVY_YAML = (
    b"{" + b", ".join(b"a: b" for _ in range(12_000)) + b"}",
    b"a: &a [x, x]\n" + b"".join(b"b%d: &b%d [*a, *a]\n" % (n, n) for n in range(500)),
    b"[" * 20_000,
    b"a: " + b'"\\u0041' * 5_000,
    b"key: !!python/object/apply:os.system ['true']\n",
    b"? " * 10_000,
)


@pytest.mark.usefixtures("still_evaluated")
@pytest.mark.parametrize("body", HEAVY_YAML, ids=range(len(HEAVY_YAML)))
def test_heavy_yaml_is_refused(server: Server, shop: Shop, body: bytes) -> None:
    path = f"/api/v1/projects/{shop.project}/policies"
    answer = Attacker(server, writer_token(shop)).send(
        "POST", path, body, **{"Content-Type": "application/yaml"}
    )
    assert answer.status in (400, 413, 422), answer.data
    assert Attacker(server, None).status("GET", "/health/live") == 200


# A hook's secret ----------------------------------------------------------------------


def test_a_hooks_secret_acts_on_its_flags_only(
    server: Server, shop: Shop, victim: Shop, own_release: str
) -> None:
    hooks = f"/api/v1/projects/{shop.project}/hooks"
    fields = {"name": "pager", "kind": "generic", "action": "kill", "flags": ["banner"]}
    made = shop.server.call("POST", hooks, {**fields, "environment": "production"})
    monitor = Attacker(server, made["secret"])
    for method, path in (
        ("GET", "/api/v1/projects"),
        ("GET", "/sdk/v1/snapshot"),
        ("POST", "/ofrep/v1/evaluate/flags"),
        ("POST", f"{shop.production}/flags/checkout/kill"),
        ("GET", f"{hooks}/{made['id']}"),
    ):
        assert monitor.status(method, path, {}) in (401, 403), path
    firing = {"status": "firing", "flags": ["checkout"], "action": "kill", "summary": BIDI + "\n"}
    answer = monitor.send("POST", made["path"], firing)
    assert answer.status in (200, 422)
    assert shop.server.call("GET", f"{shop.production}/flags/checkout")["killed"] is None
    large = {"Content-Type": "application/json"}
    assert monitor.status("POST", made["path"], b"x" * 2_000_000, **large) == 413
    calls = [monitor.status("POST", made["path"], {"status": "resolved"}) for _ in range(130)]
    assert 503 in calls


# The machine --------------------------------------------------------------------------


def test_no_request_forges_a_log_line(server: Server, folder: Path) -> None:
    stranger = Attacker(server, None)
    stranger.send("GET", "/a%0Aforged-line%1B%5B2K%E2%80%AE")
    stranger.send("GET", "/api/v1/projects", **{"X-Request-ID": "x forged-line"})
    until(lambda: "forged-line" in (folder / "server.log").read_text(), "the log")
    log = (folder / "server.log").read_text()
    assert not [line for line in log.splitlines() if line.startswith("forged-line")]
    assert "\x1b[2K" not in log
    assert BIDI not in log
    assert TOKEN not in log


def test_nobody_else_on_the_machine_reads_the_data(server: Server, folder: Path) -> None:
    for path in [folder / "data", *(folder / "data").rglob("*")]:
        mode = path.lstat().st_mode
        if not stat.S_ISSOCK(mode):
            assert mode & 0o077 == 0, (path, oct(mode))


def test_a_data_folder_that_others_can_read_is_refused_or_narrowed() -> None:
    with tempfile.TemporaryDirectory(prefix="tg-wide-") as made:
        wide = Path(made) / "data"
        wide.mkdir()
        wide.chmod(0o777)
        folder = DataFolder(wide)
        try:
            folder.lock()
        except StartupRefused:
            return
        folder.unlock()
        assert wide.stat().st_mode & 0o077 == 0
