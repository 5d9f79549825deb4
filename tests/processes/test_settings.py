"""The settings of `tidegate serve`, and its secret key."""

from __future__ import annotations

import inspect
import re
import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier

import click
import pytest
from tidegate import client
from tidegate_server.cli.serve import serve
from tidegate_server.domain.network_addresses import PUBLIC_ONLY
from tidegate_server.errors import StartupRefused
from tidegate_server.processes.mail_settings import (
    check_mail_server,
    mail_environment,
    mail_server_in,
)
from tidegate_server.processes.settings import (
    KNOWN,
    ServeSettings,
    check_environment,
    check_prometheus_token,
    check_prometheus_url,
    check_store_url,
    parse_session_time,
    parse_trusted_proxies,
    parse_webhook_networks,
    secret_key,
)

from tests.cli.calls import Tidegate

SETTINGS = ServeSettings(
    host="127.0.0.1",
    port=8080,
    workers=1,
    data_dir=Path("data"),
    store_url=None,
    bootstrap_token="",
    secret_key=None,
    log_level="info",
    log_format="console",
)


def test_an_unknown_setting_is_refused() -> None:
    check_environment({"TIDEGATE_PORT": "1", "PATH": "x", "_TIDEGATE_X": "y"})
    with pytest.raises(StartupRefused, match=r"TIDEGATE_PROT: .* Did you mean TIDEGATE_PORT\?"):
        check_environment({"TIDEGATE_PROT": "8080"})
    with pytest.raises(StartupRefused) as refused:
        check_environment({"TIDEGATE_ZZZ": "", "TIDEGATE_AAA": ""})
    assert "Unknown setting TIDEGATE_AAA, TIDEGATE_ZZZ" in refused.value.message
    assert "mean" not in refused.value.message


def test_variables_that_kubernetes_sets_are_told_apart() -> None:
    links = {"TIDEGATE_SERVICE_HOST": "10.0.0.1", "TIDEGATE_PORT_80_TCP": "tcp://10.0.0.1:80"}
    with pytest.raises(StartupRefused, match="set enableServiceLinks: false"):
        check_environment(links)


def test_what_an_application_sets_for_its_client_disturbs_no_command() -> None:
    read = set(re.findall(r'"(TIDEGATE_[A-Z_]+)"', inspect.getsource(client)))
    assert {"TIDEGATE_URL", "TIDEGATE_TOKEN", "TIDEGATE_APPLICATION"} <= read
    check_environment(dict.fromkeys(read, "x"))


@pytest.mark.parametrize("command", ["serve", "policy-job"])
def test_the_commands_check_the_names_of_settings(command: str) -> None:
    wrong = Tidegate(
        {
            "TIDEGATE_WORKER": "2",
            "TIDEGATE_STORE_URL": "redis://x",
            "TIDEGATE_SECRET_KEY": "0123456789abcdef",
        }
    )
    assert "Did you mean TIDEGATE_WORKERS?" in wrong.refused(command, status=2)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("TIDEGATE_PORT", "http"),
        ("TIDEGATE_PORT", "0"),
        ("TIDEGATE_PORT", "65536"),
        ("TIDEGATE_WORKERS", "many"),
        ("TIDEGATE_WORKERS", "0"),
        ("TIDEGATE_LOG_LEVEL", "loud"),
        ("TIDEGATE_LOG_FORMAT", "xml"),
    ],
)
def test_a_malformed_setting_is_refused(variable: str, value: str) -> None:
    output = Tidegate({variable: value}).refused("serve", status=2)
    assert f"env var: '{variable}'" in output
    assert value in output


def test_every_setting_is_in_the_help() -> None:
    output = " ".join(Tidegate().ok("serve", "--help").split())
    options = {str(each.envvar) for each in serve.params if isinstance(each, click.Option)}
    assert options <= KNOWN
    for variable in options:
        assert f"env var: {variable}" in output


def test_every_setting_is_on_the_page_about_production() -> None:
    page = (Path(__file__).parents[2] / "docs/operations/production.md").read_text()
    table = page[page.index("## Settings") : page.index("## Several servers")]
    rows = re.findall(r"^\| (`TIDEGATE_[^|]+) \|", table, re.MULTILINE)
    named = {
        first.rpartition("_")[0] + name if name.startswith("_") else name
        for row in rows
        for first, *others in [re.findall(r"`([A-Z_]+)`", row)]
        for name in (first, *others)
    }
    options = {str(each.envvar) for each in serve.params if isinstance(each, click.Option)}
    assert named == options


@pytest.mark.parametrize(
    ("host", "bind", "url"),
    [
        ("127.0.0.1", "127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("0.0.0.0", "0.0.0.0:8080", "http://127.0.0.1:8080"),
        ("::1", "[::1]:8080", "http://[::1]:8080"),
        ("::", "[::]:8080", "http://[::1]:8080"),
        ("flags.local", "flags.local:8080", "http://flags.local:8080"),
    ],
)
def test_the_host_and_port_give_the_address_and_the_url(host: str, bind: str, url: str) -> None:
    settings = replace(SETTINGS, host=host)
    assert (settings.bind, settings.url) == (bind, url)


def test_a_configured_key_needs_16_characters(tmp_path: Path) -> None:
    assert secret_key("0123456789abcdef", tmp_path / "none") == b"0123456789abcdef"
    assert not (tmp_path / "none").exists()
    with pytest.raises(StartupRefused, match="at least 16 characters"):
        secret_key("0123456789abcde", tmp_path)


def test_white_space_is_no_part_of_a_configured_key(tmp_path: Path) -> None:
    with pytest.raises(StartupRefused, match="at least 16 characters"):
        secret_key("0123456789abcde\n", tmp_path)


def test_white_space_around_the_address_of_the_store_does_not_matter() -> None:
    assert check_store_url("redis://127.0.0.1:6379/0\n") == "redis://127.0.0.1:6379/0"
    assert (
        check_store_url(" \ufeffunix:///a folder/store.sock\r\n") == "unix:///a folder/store.sock"
    )
    with pytest.raises(StartupRefused, match="TIDEGATE_STORE_URL contains a line") as refused:
        check_store_url("redis://:secret@host\n:6379/0")
    assert "secret" not in refused.value.message


def test_a_key_is_created_once_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    key = secret_key(None, folder)
    assert len(key) == 64
    assert secret_key(None, folder) == key
    assert stat.S_IMODE((folder / "secret.key").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [each.name for each in folder.iterdir()] == ["secret.key"]


def test_servers_that_start_together_use_one_key(tmp_path: Path) -> None:
    start = Barrier(8)

    def key(_: int) -> bytes:
        start.wait()
        return secret_key(None, tmp_path / "data")

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(key, range(8)))) == 1


def test_an_unusable_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StartupRefused, match="TIDEGATE_DATA_DIR to a writable folder"):
        secret_key(None, tmp_path / "file" / "data")


def test_the_prometheus_url_has_no_query_fragment_or_credentials() -> None:
    assert check_prometheus_url("") == ""
    assert check_prometheus_url("https://metrics.local:9090/prefix/") != ""
    assert check_prometheus_url("http://metrics:9090\n") == "http://metrics:9090"
    for wrong in ("prometheus:9090", "ftp://metrics", "http://", "http://a b"):
        with pytest.raises(StartupRefused, match="such as http://prometheus:9090"):
            check_prometheus_url(wrong)
    for more in ("http://user:pass@metrics", "http://metrics/?query=up", "http://metrics/#x"):
        with pytest.raises(StartupRefused, match="TIDEGATE_PROMETHEUS_TOKEN"):
            check_prometheus_url(more)


def test_webhook_networks_are_a_list() -> None:
    assert parse_webhook_networks("") == parse_webhook_networks(" ") == PUBLIC_ONLY
    allowed = parse_webhook_networks("10.1.0.0/16, 127.0.0.1/32,fd12::/16 ,192.168.1.7")
    written = ["10.1.0.0/16", "127.0.0.1/32", "fd12::/16", "192.168.1.7/32"]
    assert [str(each) for each in allowed.networks] == written
    for wrong in ("10.1.0.0/33", "localhost", "10.1.0.0/16,", "10.1.0.0/16;10.2.0.0/16", "10.1"):
        with pytest.raises(StartupRefused, match="networks separated by commas, such as"):
            parse_webhook_networks(wrong)
    mapped = parse_webhook_networks("::ffff:10.1.0.0/112")
    assert [str(each) for each in mapped.networks] == ["10.1.0.0/16"]
    with pytest.raises(StartupRefused, match=r"not a network. Did you mean 10.1.0.0/16\?"):
        parse_webhook_networks("10.1.2.3/16")


def test_a_prometheus_token_has_no_spaces() -> None:
    assert check_prometheus_token("") == ""
    assert check_prometheus_token("eyJhbGciOi.x-_~+/=") == "eyJhbGciOi.x-_~+/="
    assert check_prometheus_token("token\r\n") == "token"
    for wrong in ("a token", "tok\nen", "tök"):
        with pytest.raises(StartupRefused, match="how you read it"):
            check_prometheus_token(wrong)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("TIDEGATE_PROMETHEUS_URL", "prometheus:9090"),
        ("TIDEGATE_WEBHOOK_NETWORKS", "10.1.0.0/16,ops.local"),
        ("TIDEGATE_PUBLIC_URL", "flags.example.com"),
        ("TIDEGATE_PUBLIC_URL", "https://flags.example.com/?a=1"),
        ("TIDEGATE_SMTP_SERVER", "smtp.example.com:0"),
    ],
)
@pytest.mark.parametrize("command", ["serve", "policy-job"])
def test_a_wrong_address_stops_the_start(command: str, variable: str, value: str) -> None:
    wrong = Tidegate(
        {
            variable: value,
            "TIDEGATE_STORE_URL": "redis://127.0.0.1:1",
            "TIDEGATE_SECRET_KEY": "0123456789abcdef",
        }
    )
    assert f"{variable} must be" in wrong.refused(command, status=2)


def test_trusted_proxies_are_addresses_and_networks() -> None:
    assert parse_trusted_proxies("") == ()
    given = parse_trusted_proxies(" 10.0.0.0/8 , ::1,127.0.0.1")
    assert [str(each) for each in given] == ["10.0.0.0/8", "::1/128", "127.0.0.1/32"]
    for wrong in ("proxy.internal", "10.0.0.1/8", "10.0.0.0/33", "*", "1.2.3.4 5"):
        refused = Tidegate({"TIDEGATE_TRUSTED_PROXIES": wrong}).refused("serve", status=2)
        assert "TIDEGATE_TRUSTED_PROXIES must be networks separated by commas" in refused


@pytest.mark.parametrize(("text", "seconds"), [("5m", 300), (" 12h ", 43_200), ("90d", 7_776_000)])
def test_the_limits_of_sessions_are_times(text: str, seconds: int) -> None:
    assert parse_session_time("TIDEGATE_SESSION_IDLE", text) == seconds


@pytest.mark.parametrize("text", ["", "h", "12", "12x", "-1h", "1.5h", "4m", "91d", "999999d"])
def test_other_limits_of_sessions_stop_the_start(text: str) -> None:
    with pytest.raises(StartupRefused, match="TIDEGATE_SESSION_IDLE must be"):
        parse_session_time("TIDEGATE_SESSION_IDLE", text)


def test_a_mail_server_has_the_usual_port_of_its_encryption() -> None:
    for tls, port in (("starttls", 587), ("implicit", 465), ("off", 25)):
        server = check_mail_server("smtp.example.com", tls, "", "", "tidegate@example.com")
        assert server is not None
        assert (server.host, server.port, server.tls) == ("smtp.example.com", port, tls)
    assert check_mail_server("", "starttls", "", "", "") is None


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        (("", "starttls", "", "", "a@example.com"), "TIDEGATE_SMTP_SERVER is missing"),
        (("smtp.example.com:x", "starttls", "", "", "a@b.c"), "TIDEGATE_SMTP_SERVER must be"),
        (("smtp://example.com", "starttls", "", "", "a@b.c"), "TIDEGATE_SMTP_SERVER must be"),
        (("smtp.example.com", "starttls", "", "", ""), "TIDEGATE_SMTP_FROM must be"),
        (("smtp.example.com", "starttls", "", "", "a@b.c\nBcc: d@e.f"), "TIDEGATE_SMTP_FROM"),
        (("smtp.example.com", "off", "me", "secret", "a@b.c"), "TIDEGATE_SMTP_TLS=off"),
    ],
)
def test_a_wrong_mail_server_stops_the_start(
    settings: tuple[str, str, str, str, str], names: str
) -> None:
    with pytest.raises(StartupRefused, match=names) as refused:
        check_mail_server(*settings)
    assert "secret" not in refused.value.message


@pytest.mark.parametrize("host", ["smtp.example.com", "[::1]:2525"])
def test_a_mail_server_reaches_a_child_process_whole(host: str) -> None:
    server = check_mail_server(host, "implicit", "me", "it's a secret", "T <t@example.com>")
    assert mail_server_in(mail_environment(server)) == server
    assert mail_server_in(mail_environment(None)) is None
