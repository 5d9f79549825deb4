"""A client never blocks, never raises, and reports its state."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tidegate import Client, Context, WireError, report_thread
from tidegate.details import ClientEvent, EvaluationDetails

from tests.sdk import bad_proxy
from tests.sdk.bad_proxy import Proxy
from tests.sdk.conftest import Connect
from tests.sdk.documents import a_flag, a_release, a_snapshot
from tests.sdk.reports import report_document
from tests.sdk.server import Environment
from tests.waiting import soon

ANN = Context("ann")


@pytest.fixture
def hanging(environment: Environment) -> Iterator[Proxy]:
    """A server that accepts connections and never answers."""
    proxy = Proxy(environment.url)
    proxy.switch_to(bad_proxy.black_hole)
    yield proxy
    proxy.close()


@pytest.fixture
def many() -> Client:
    """A client without a network, with a flag of each type."""

    def of(type: str, value: Any, other: Any) -> dict[str, Any]:
        return a_flag(
            type,
            type=type,
            variants=[{"key": "on", "value": value}, {"key": "off", "value": other}],
        )

    return Client.offline(
        a_snapshot(
            of("boolean", True, False),
            of("string", "dark", "light"),
            of("number", 20, 2.5),
            of("object", {"ink": ["black"]}, {}),
        )
    )


# Starting


def test_starting_does_not_wait_for_the_server(hanging: Proxy, environment: Environment) -> None:
    client = Client(hanging.url, environment.token)
    try:
        assert client.boolean("checkout", True, ANN) is True
        assert client.wait_until_ready(0.05) is False
        soon(lambda: hanging.connections > 0, "the client tries to connect")
    finally:
        client.close()


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9", "http://host.invalid", "nonsense", "http://[::1", "ftp://a"]
)
def test_starting_does_not_raise_for_an_invalid_url(url: str) -> None:
    client = Client(url, "token")
    try:
        assert client.status().state == "starting"
        assert client.string("theme", "plain", ANN) == "plain"
        details = client.boolean_details("checkout", True, ANN)
        assert (details.value, details.reason, details.error_code) == (
            True,
            "ERROR",
            "PROVIDER_NOT_READY",
        )
    finally:
        client.close()


def test_white_space_around_url_and_token_does_not_matter(environment: Environment) -> None:
    environment.flag("checkout")
    for before, after in (("", "\n"), ("\ufeff", "\r\n"), (" \t", " "), ("\u00a0", "\u2003")):
        url = environment.url.replace("http", "HTTP", 1)
        client = Client(f"{before}{url}{after}", f"{before}{environment.token}{after}")
        try:
            assert client.wait_until_ready()
        finally:
            client.close()


@pytest.mark.parametrize(
    ("url", "token", "reason"),
    [
        ("http://[::1", "token", "is not the address of a server"),
        ("http://x:99999", "token", "is not the address of a server"),
        ("http://a b", "token", "The URL contains a space at position 9"),
        ("http://bücher.example", "token", "write the host in its xn-- form"),
        ("http://user:secret@x", "token", "The URL contains a user name"),
        (" \n", "token", "The URL is empty"),
        ("http://x", "to\nken", "The token contains a line break at position 3"),
        ("http://x", "töken", "The token contains a character outside ASCII (U+00F6)"),
        ("http://x", "to\ufeffken", "The token contains a character outside ASCII (U+FEFF)"),
        ("http://x", "a\r\nX-Admin: 1", "The token contains a line break"),
        ("http://x", "\udce9", "The token contains a character outside ASCII (U+DCE9)"),
        ("http://x", b"token", "The token is a bytes; it must be a str"),
    ],
)
def test_a_url_or_token_that_cannot_be_used_is_named_once_and_never_retried(
    url: str, token: Any, reason: str, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(logging.DEBUG, "tidegate")
    before = set(threading.enumerate())
    client = Client(url, token, cache_path=tmp_path / "flags")
    events: list[ClientEvent] = []
    client.listen(events.append)
    assert client.wait_until_ready(60) is False
    assert client.boolean("checkout", True, ANN) is True
    client.flush()
    client.close()
    # Those of earlier tests may end meanwhile.
    assert set(threading.enumerate()) <= before
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert caplog.messages[0].startswith("Tidegate has no flags: ")
    assert reason in caplog.messages[0]
    assert "secret" not in caplog.text
    assert reason in (client.status().problem or "")
    assert [(event.kind, reason in event.message) for event in events] == [("refused", True)]


def test_threads_that_flush_at_the_same_time_wait_for_the_report_only(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report_thread, "LAST_REPORT_SECONDS", 60.0)
    client = Client(environment.url, environment.token)
    assert client.wait_until_ready(60)
    threads = [threading.Thread(target=client.flush) for _ in range(8)]
    for thread in threads:
        thread.start()
    soon(lambda: not any(thread.is_alive() for thread in threads), "the report arrives")
    client.close()


def test_url_and_token_are_read_from_the_environment(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment.flag("checkout")
    monkeypatch.setenv("TIDEGATE_URL", environment.url)
    monkeypatch.setenv("TIDEGATE_TOKEN", environment.token)
    client = Client()
    try:
        assert client.wait_until_ready()
        assert client.boolean("checkout", True, ANN) is False
    finally:
        client.close()


@pytest.mark.parametrize(
    ("arguments", "missing"),
    [({}, "TIDEGATE_URL"), ({"url": "http://127.0.0.1:9"}, "TIDEGATE_TOKEN")],
)
def test_without_a_url_or_a_token_it_logs_so_and_returns_defaults(
    arguments: dict[str, Any],
    missing: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("TIDEGATE_URL", raising=False)
    monkeypatch.delenv("TIDEGATE_TOKEN", raising=False)
    client = Client(**arguments)
    assert missing in caplog.text
    assert client.wait_until_ready() is False
    assert client.boolean("checkout", True, ANN) is True
    status = client.status()
    assert status.state == "starting"
    assert missing in (status.problem or "")
    assert (status.problem_age or 0) > 0
    assert missing in (client.boolean_details("checkout", True, ANN).error_message or "")
    client.close()


def printed_by(program: str, **variables: str) -> str:
    """Return what a program without logging prints, where its client has no flags."""
    done = subprocess.run(
        [sys.executable, "-c", f"import tidegate, time\nclient = tidegate.Client()\n{program}"],
        check=True, capture_output=True, text=True, timeout=60, env=variables,
    )  # fmt: skip
    assert done.stdout == ""
    return done.stderr


FAILED = "while client.status().problem is None: time.sleep(0.01)\n"
AWAY = {"TIDEGATE_URL": "http://127.0.0.1:9", "TIDEGATE_TOKEN": "a-secret"}


def test_the_first_failure_is_one_line_on_stderr_though_logging_is_not_configured() -> None:
    program = FAILED + "client.boolean('x', False)\ntime.sleep(2.5)\nclient.close()"
    assert printed_by(program, **AWAY) == (
        "Tidegate is not connected to its server (nothing listens at 127.0.0.1:9): evaluations "
        "return defaults; `python -m tidegate check` tests each step\n"
    )


def test_a_missing_setting_is_one_line_on_stderr() -> None:
    printed = printed_by("client.boolean('x', False)", TIDEGATE_URL="http://127.0.0.1:9")
    assert printed == "Tidegate has no flags: pass a token or set TIDEGATE_TOKEN\n"


def test_a_handler_of_the_application_gets_the_line_instead() -> None:
    quiet = "import logging\nlogging.getLogger('tidegate').addHandler(logging.NullHandler())\n"
    assert printed_by(f"{quiet}{FAILED}client.close()", **AWAY) == ""


def test_a_program_that_ends_before_its_first_flags_came_is_told_to_wait(hanging: Proxy) -> None:
    variables = {"TIDEGATE_URL": hanging.url, "TIDEGATE_TOKEN": "a-secret"}
    assert printed_by("", **variables) == ""
    printed = printed_by("client.boolean('x', False)", **variables)
    assert printed == (
        "the client ends before its first flags came, and evaluations returned defaults: "
        "in a short program, call wait_until_ready() before the first one\n"
    )


def test_the_numbers_of_the_module_random_belong_to_the_application(
    environment: Environment,
) -> None:
    program = (
        "import random\nbefore = random.getstate()\n"
        "connected = tidegate.Client()\n"
        "assert connected.wait_until_ready(60)\n"
        "connected.flush()\n"
        "client = tidegate.Client('http://127.0.0.1:9')\n"
        f"{FAILED}"
        "assert random.getstate() == before"
    )
    variables = {"TIDEGATE_URL": environment.url, "TIDEGATE_TOKEN": environment.token}
    assert "nothing listens" in printed_by(program, **variables)


def test_without_threads_an_application_gets_its_defaults_and_the_reason(
    environment: Environment, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """There are too many threads, or the interpreter of Python 3.12 ends."""
    for allowed in (0, 1):
        caplog.clear()
        with monkeypatch.context() as patch:
            fail_to_start_threads(patch, after=allowed)
            client = Client(environment.url, environment.token)
            assert client.wait_until_ready(60) is False
            assert client.boolean("checkout", True, ANN) is True
            assert client.status().problem == "no thread can be started: can't start new thread"
            assert "no thread can be started" in caplog.text
            client.flush()
            client.close()


def test_a_child_without_threads_keeps_its_flags_and_counts_what_is_lost(
    environment: Environment, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment.flag("checkout")
    environment.release("checkout")
    soon(lambda: client.boolean_details("checkout", False, ANN).reason == "SPLIT", "the release")
    client.flush()
    fail_to_start_threads(monkeypatch, after=0)
    client._lifecycle.connection.stop()  # a child has no threads of its parent
    client._lifecycle.restart_after_fork()
    with client.operation(ANN):
        assert client.boolean_details("checkout", False).reason == "SPLIT"
    assert "no thread can be started" in (client.status().problem or "")
    assert client.status().state == "stale"
    client.close()
    assert client.status().dropped == 1


def fail_to_start_threads(patch: pytest.MonkeyPatch, after: int) -> None:
    """Let no more of the SDK's threads be started than a number."""
    start = threading.Thread.start
    started = []

    def limited(thread: threading.Thread) -> None:
        if thread.name.startswith(("tidegate-updates", "tidegate-reports", "tidegate-breaker")):
            started.append(thread)
            if len(started) > after:
                raise RuntimeError("can't start new thread")
        start(thread)

    patch.setattr(threading.Thread, "start", limited)


def test_a_firewall_that_lets_only_the_flags_through_is_named(
    environment: Environment, proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    proxy.switch_to(bad_proxy.forbid("/sdk/v1/reports"))
    client = Client(proxy.url, environment.token)
    try:
        assert client.wait_until_ready()
        client.flush()
        assert client.status().state == "connected"
        assert "403" in (client.status().report_problem or "")
        assert "the server does not accept reports" in caplog.text
        proxy.switch_to(bad_proxy.pass_through)
        assert client.wait_until_ready()
        client.flush()
        soon(lambda: client.status().report_problem is None, "a report arrives")
    finally:
        client.close()


@pytest.mark.parametrize("path", ["x" * 300, "a\0b", 7])
def test_a_cache_that_cannot_be_used_does_not_end_the_reports(
    environment: Environment, path: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The name is too long, no name at all, or nothing that names a file."""
    usable: Any = path if isinstance(path, int) else str(tmp_path / path)
    client = Client(environment.url, environment.token, cache_path=usable)
    try:
        assert client.wait_until_ready()
        for _ in range(2):
            before = len(environment.reports)
            client.flush()
            assert len(environment.reports) > before
        assert "cache" in caplog.text
    finally:
        client.close()


# Without a network


def test_an_offline_client_has_no_network_and_no_threads() -> None:
    before = set(threading.enumerate())
    client = Client.offline(a_snapshot(a_flag("checkout", release=a_release((50, [])))))
    assert client.wait_until_ready(0)
    assert client.boolean_details("checkout", False, ANN).reason == "SPLIT"
    with client.operation(ANN):
        client.boolean("checkout", False)
    assert set(threading.enumerate()) == before
    status = client.status()
    assert (status.state, status.version, status.age, status.instance, status.dropped) == (
        "offline",
        1,
        None,
        None,
        0,
    )
    client.close()
    assert client.status().state == "closed"
    assert client.boolean_details("checkout", False, ANN).error_code == "PROVIDER_NOT_READY"


def test_an_offline_client_needs_a_valid_snapshot() -> None:
    with pytest.raises(WireError, match="/flags"):
        Client.offline({**a_snapshot(), "flags": []})
    with pytest.raises(WireError, match="update the SDK"):
        Client.offline({**a_snapshot(), "schema": 2})


# Evaluations


def test_each_type_has_a_method(many: Client) -> None:
    assert many.boolean("boolean", False, ANN) is True
    assert many.string("string", "", ANN) == "dark"
    assert many.integer("number", 0, ANN) == 20
    assert many.float("number", 0.0, ANN) == 20.0
    assert isinstance(many.float("number", 0.0, ANN), float)
    assert many.object("object", {}, ANN) == {"ink": ["black"]}


def test_changing_a_returned_object_does_not_change_the_flag(many: Client) -> None:
    mine: Any = many.object("object", {}, ANN)
    mine["ink"].append("blue")
    assert many.object("object", {}, ANN) == {"ink": ["black"]}


def test_details_can_be_pickled_and_copied(many: Client) -> None:
    details: EvaluationDetails[Any] = many.object_details("object", {}, ANN)
    for again in (pickle.loads(pickle.dumps(details)), copy.deepcopy(details), copy.copy(details)):
        assert type(again) is type(details)
        assert again == details
        assert again.metadata == {"flagVersion": 1}


def test_details_give_the_reason(many: Client) -> None:
    details = many.string_details("string", "", ANN)
    assert (details.flag_key, details.value, details.variant) == ("string", "dark", "on")
    assert (details.reason, details.error_code, details.error_message) == ("STATIC", None, None)
    assert details.metadata == {"flagVersion": 1}
    wrong = many.string_details("boolean", "mine", ANN)
    assert (wrong.value, wrong.variant, wrong.reason) == ("mine", None, "ERROR")
    assert wrong.error_code == "TYPE_MISMATCH"
    assert "'boolean' is a boolean flag" in str(wrong.error_message)


class Raising(Mapping[str, Any]):
    """Attributes whose every method raises."""

    def __getitem__(self, key: str) -> Any:
        raise ZeroDivisionError(key)

    def __iter__(self) -> Iterator[str]:
        raise ZeroDivisionError

    def __len__(self) -> int:
        raise ZeroDivisionError


def raising_context() -> Context:
    context = Context("ann")
    context.attributes = Raising()
    return context


class RaisingKey:
    def __hash__(self) -> int:
        raise ZeroDivisionError


@pytest.mark.parametrize(
    ("key", "context"),
    [
        ("targeted", raising_context()),
        ("split", {"targetingKey": "ann"}),
        ("split", 7),
        ("split", b"ann"),
        ("split", Context(7)),  # type: ignore[arg-type]
        (["checkout"], ANN),
        (None, ANN),
        (RaisingKey(), ANN),
        (7, ANN),
    ],
    ids=lambda each: type(each).__name__,
)
def test_no_evaluation_raises(key: Any, context: Any) -> None:
    when = {"attribute": "plan", "operator": "equals", "value": "pro"}
    rule = {"id": "r", "when": when, "serve": {"variant": "off"}}
    client = Client.offline(
        a_snapshot(a_flag("targeted", rules=[rule]), a_flag("split", release=a_release((50, []))))
    )
    for _ in range(2):
        assert client.boolean(key, False, context) is False
        assert client.boolean(key, True, context) is True
        details = client.boolean_details(key, False, context)
        assert details.value is False
        assert details.error_code in (
            "GENERAL", "FLAG_NOT_FOUND", "INVALID_CONTEXT", "TARGETING_KEY_MISSING",
        )  # fmt: skip
        assert client.string(key, "mine", context) == "mine"
        assert client.integer(key, 7, context) == 7
        assert client.float(key, 0.5, context) == 0.5
        assert client.object(key, [1], context) == [1]


def test_a_key_without_a_hash_ends_no_operation() -> None:
    client = Client.offline(a_snapshot(a_flag("checkout", release=a_release((50, [])))))
    client._reporter.seen_users.known = {None}  # the server wants to know the users
    odd: Any = RaisingKey()
    with client.operation(Context(odd)):
        assert client.boolean("checkout", True) is True


# Contexts


def identity(value: Any) -> Any:
    return value


STAFF = {"attribute": "targetingKey", "operator": "starts_with", "value": "ann"}
OF_EACH_TYPE: dict[str, tuple[Any, Any]] = {
    "boolean": (True, False),
    "string": ("dark", "light"),
    "number": (20, 2.5),
    "object": ({"ink": ["black"]}, {}),
}


@pytest.fixture
def released() -> Client:
    """A client of a flag of each type under a release, with a rule about the targeting key."""
    rule = {"id": "staff", "when": STAFF, "serve": {"variant": "on"}}
    return Client.offline(
        a_snapshot(
            *(
                a_flag(
                    type,
                    type=type,
                    variants=[{"key": "on", "value": on}, {"key": "off", "value": off}],
                    rules=[rule],
                    default={"variant": "off"},
                    release=a_release((50, []), id=f"rel_{type}"),
                )
                for type, (on, off) in OF_EACH_TYPE.items()
            ),
            a_flag("open", default={"variant": "off"}, release=a_release((50, []))),
            a_flag("plain"),
        )
    )


@pytest.mark.parametrize("user", ["ann", "bob", "carol", "dave", "erin", ""])
def test_a_text_as_a_context_is_a_targeting_key(released: Client, user: str) -> None:
    context = Context(user)
    for _ in range(2):
        for key in ("boolean", "open", "plain", "nowhere"):
            assert released.boolean(key, False, user) is released.boolean(key, False, context)
            assert released.boolean(key, True, user) is released.boolean(key, True, context)
        assert released.string("string", "x", user) == released.string("string", "x", context)
        assert released.integer("number", 1, user) == released.integer("number", 1, context)
        assert released.float("number", 1.0, user) == released.float("number", 1.0, context)
        assert released.object("object", [], user) == released.object("object", [], context)
        assert released.boolean_details("open", False, user) == released.boolean_details(
            "open", False, context
        )
    assert released.status().invalid_contexts == 0


def test_a_text_as_a_context_counts_like_its_context() -> None:
    snapshot = a_snapshot(a_flag("open", default={"variant": "off"}, release=a_release((50, []))))

    def counted(context_of: Callable[[str], Any]) -> Any:
        client = Client.offline(snapshot)
        for number in range(40):
            user = context_of(f"user-{number}")
            client.boolean("open", False, user)
            for operation in (client.operation(user), client.operation_of(partial(identity, user))):
                with operation:
                    client.boolean("open", False)
                    client.boolean("open", False, context_of("another"))
                    operation.fail()
        report = report_document(client._reporter)
        arms = [
            {**each[arm], "microseconds": 0}
            for each in report["counts"]
            for arm in ("control", "treatment")
        ]
        failing = sorted((each["arm"], sorted(each["users"])) for each in report["failing"])
        return arms, failing

    arms, failing = counted(str)
    assert (arms, failing) == counted(Context)
    assert sum(arm["exposures"] for arm in arms) == 200
    assert sum(len(users) for _, users in failing) == 41


@pytest.mark.parametrize(
    ("context", "code", "text"),
    [
        ({"targetingKey": "ann"}, "INVALID_CONTEXT", "of the type dict; give a tidegate.Context"),
        (7, "INVALID_CONTEXT", "the context is of the type int"),
        (b"ann", "INVALID_CONTEXT", "the context is of the type bytes"),
        (Context(7), "TARGETING_KEY_MISSING", "the targeting key is of the type int"),  # type: ignore[arg-type]
    ],
    ids=repr,
)
def test_a_context_of_a_wrong_type_is_counted_and_logged_once(
    released: Client,
    context: Any,
    code: str,
    text: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tidegate.operation._warnings", set())
    for count in range(1, 4):
        assert released.boolean("open", True, context) is True
        assert released.status().invalid_contexts == 2 * count - 1
        details = released.boolean_details("open", False, context)
        assert (details.value, details.error_code) == (False, code)
        assert text in (details.error_message or "")
        assert released.status().invalid_contexts == 2 * count
    assert len(caplog.messages) == 1
    assert text in caplog.messages[0]
    assert released.boolean("plain", False, context) is True
    assert released.boolean_details("plain", False, context).error_code is None


def test_an_operation_for_a_context_of_a_wrong_type_has_no_user(
    released: Client, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidegate.operation._warnings", set())
    wrong: Any = {"targetingKey": "ann"}
    with released.operation(wrong) as operation:
        assert operation.context == Context()
        assert released.boolean("open", True) is True
    with released.operation_of(lambda: wrong):
        assert released.boolean("open", True) is True
    assert released.status().invalid_contexts == 2
    assert ["dict" in message for message in caplog.messages] == [True, True]


def test_an_observer_gets_the_context_of_a_targeting_key(released: Client) -> None:
    seen: list[Context] = []
    released.observe(lambda details, context: seen.append(context))
    released.boolean("open", False, "ann")
    assert seen == [Context("ann")]


def test_a_visitor_without_a_targeting_key_is_no_fault(released: Client) -> None:
    assert released.boolean("open", True) is True
    assert released.boolean_details("open", True).error_code == "TARGETING_KEY_MISSING"
    assert released.status().invalid_contexts == 0


@pytest.mark.parametrize("key", ["\ud800", "ann\udfff", "😀\ud83d"], ids=ascii)
def test_a_targeting_key_that_is_not_text_counts_as_missing(key: str) -> None:
    """JSON and headers can contain one, and the hash function would crash the process."""
    flags = [
        a_flag("half", release=a_release((50, []))),
        a_flag("open", release=a_release((100, []), id="rel_2")),
        a_flag("split", default={"split": [{"variant": "on", "weight": 100}]}),
    ]
    client = Client.offline(a_snapshot(*flags))
    for context in (Context(key), Context.of({"targetingKey": key})):
        for flag in ("half", "split"):
            for _ in range(2):
                assert client.boolean(flag, False, context) is False
                details = client.boolean_details(flag, True, context)
                assert (details.value, details.error_code) == (True, "TARGETING_KEY_MISSING")
        assert client.boolean("open", False, context) is True
        with client.operation(context) as operation:
            client.boolean("open", False)
            operation.fail()
    assert report_document(client._reporter)["failing"] == []


@pytest.mark.parametrize("as_text", [True, False])
def test_a_salt_that_is_not_text_makes_only_its_flag_unreadable(as_text: bool) -> None:
    half = {"split": [{"variant": "on", "weight": 50}, {"variant": "off", "weight": 50}]}
    flags = [
        a_flag("split", salt="\ud800", default=half),
        a_flag("released", release=a_release((50, []), salt="\ud800")),
        a_flag("plain"),
    ]
    document = a_snapshot(*flags)
    client = Client.offline(json.dumps(document) if as_text else document)
    for flag in ("split", "released"):
        assert client.boolean(flag, True, ANN) is True
        details = client.boolean_details(flag, False, ANN)
        assert details.error_code == "PARSE_ERROR"
        assert "not valid Unicode" in str(details.error_message)
    assert client.boolean("plain", False, ANN) is True


@pytest.mark.parametrize("as_text", [True, False])
def test_an_offline_client_refuses_a_bad_flag_by_name_and_keeps_the_rest(
    caplog: pytest.LogCaptureFixture, as_text: bool
) -> None:
    bad = a_flag("theme", rules=[{"id": 7, "when": {"all": []}, "serve": {"variant": "on"}}])
    document = a_snapshot(bad, a_flag("checkout"))
    client = Client.offline(json.dumps(document) if as_text else document)
    assert client.boolean("checkout", False) is True
    details = client.boolean_details("theme", False)
    assert (details.value, details.error_code) == (False, "PARSE_ERROR")
    expected = "flags/theme cannot be read: /flags/theme/rules/0/id: must be a string"
    assert [record.getMessage() for record in caplog.records] == [expected]


@pytest.mark.parametrize("document", ["", "[]", "{", b"\xff", "nothing", {"schema": 1}, {1, 2}, 7])
def test_what_is_not_a_snapshot_is_refused(document: Any) -> None:
    with pytest.raises(WireError):
        Client.offline(document)


# Status and events


def test_the_status_of_a_connected_client(environment: Environment, connect: Connect) -> None:
    environment.flag("checkout")
    client = connect()
    soon(lambda: client.status().state == "connected", "the client is connected")
    status = client.status()
    assert status.version == environment.version
    assert status.age is not None
    assert status.age >= 0
    soon(lambda: len(environment.instances()) == 1, "the client reports")
    assert environment.instances()[0]["id"] == status.instance
    assert status.dropped == 0
    client.close()
    assert client.status().state == "closed"


def test_a_change_arrives(environment: Environment, client: Client) -> None:
    environment.flag("checkout")
    soon(lambda: client.boolean("checkout", True, ANN) is False, "the new flag arrives")
    environment.target("checkout", default={"variant": "on"})
    soon(lambda: client.boolean("checkout", False, ANN) is True, "the edit arrives")
    environment.kill("checkout")
    soon(lambda: client.boolean("checkout", True, ANN) is False, "the kill arrives")
    assert client.boolean_details("checkout", True, ANN).metadata["killed"] is True
    environment.restore("checkout")
    soon(lambda: client.boolean("checkout", False, ANN) is True, "the restore arrives")
    environment.delete("checkout")
    soon(
        lambda: client.boolean_details("checkout", True, ANN).error_code == "FLAG_NOT_FOUND",
        "the deletion arrives",
    )


def test_a_listener_is_notified_and_may_raise(
    environment: Environment, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR, "tidegate")
    events: list[ClientEvent] = []

    def fail(event: ClientEvent) -> None:
        raise ZeroDivisionError

    client.listen(fail)
    unsubscribe = client.listen(events.append)
    environment.flag("checkout")
    soon(lambda: bool(events), "the listener is notified")
    assert events == [ClientEvent("changed", frozenset({"checkout"}))]
    assert "a listener failed" in caplog.text
    unsubscribe()
    environment.kill("checkout")
    soon(
        lambda: client.boolean_details("checkout", True, ANN).metadata != {},
        "the kill is evaluated",
    )
    soon(lambda: client.status().version == environment.version, "the kill arrived")
    assert len(events) == 1


def test_a_listener_that_exits_ends_no_thread_of_the_client(
    environment: Environment, client: Client
) -> None:
    client.listen(lambda event: sys.exit(1))
    for key in ("checkout", "banner"):
        environment.flag(key)
        soon(lambda: client.status().version == environment.version, "the flag arrives")


def test_a_late_listener_is_notified_of_the_present_problem(environment: Environment) -> None:
    client = Client(environment.url, "wrong")
    events: list[ClientEvent] = []
    try:
        soon(lambda: client._lifecycle.connection.problem is not None, "the token is refused")
        client.listen(events.append)
        assert events == [
            ClientEvent(
                "refused",
                message="the token is refused (401): This token is unknown or was deleted; "
                "ask an admin for a new one.",
            )
        ]
    finally:
        client.close()


def test_threads_evaluate_while_flags_change(environment: Environment, client: Client) -> None:
    environment.flag("checkout")
    soon(lambda: client.status().version == environment.version, "the flag arrived")
    stop = threading.Event()
    errors: set[str | None] = set()

    def ask() -> None:
        while not stop.wait(0.001):
            with client.operation(ANN):
                client.boolean("checkout", False)
                errors.add(client.boolean_details("checkout", False).error_code)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(15):
        environment.target("checkout", default={"variant": "on" if number % 2 == 0 else "off"})
    stop.set()
    for thread in threads:
        thread.join()
    assert errors == {None}
    soon(lambda: client.boolean("checkout", False, ANN) is True, "the last change arrives")


def test_a_flag_that_the_server_does_not_serve_warns_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidegate.operation._warnings", set())
    client = Client.offline(a_snapshot(a_flag("known")))
    for _ in range(3):
        assert client.boolean("archived", True, ANN) is True
        client.boolean("known", True, ANN)
    [warning] = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    assert warning.startswith("flag 'archived' is asked for")
