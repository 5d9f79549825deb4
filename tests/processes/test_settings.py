"""What `tidegate serve` is told, and the key that it keeps."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier

import click
import pytest
from tidegate_server.cli.serve import serve
from tidegate_server.errors import StartupRefused
from tidegate_server.processes.settings import (
    KNOWN,
    ServeSettings,
    check_environment,
    checked_token,
    prometheus_address,
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


def test_a_setting_that_nobody_reads_stops_the_start() -> None:
    check_environment({"TIDEGATE_PORT": "1", "PATH": "x", "_TIDEGATE_X": "y"})
    with pytest.raises(StartupRefused, match=r"TIDEGATE_PROT: .* Is TIDEGATE_PORT meant\?"):
        check_environment({"TIDEGATE_PROT": "8080"})
    with pytest.raises(StartupRefused) as refused:
        check_environment({"TIDEGATE_ZZZ": "", "TIDEGATE_AAA": ""})
    assert "no setting TIDEGATE_AAA, TIDEGATE_ZZZ" in refused.value.message
    assert "meant" not in refused.value.message


@pytest.mark.parametrize("command", ["serve", "policy-job"])
def test_the_commands_look_before_they_start(command: str) -> None:
    wrong = Tidegate(
        {
            "TIDEGATE_WORKER": "2",
            "TIDEGATE_STORE_URL": "redis://x",
            "TIDEGATE_SECRET_KEY": "0123456789abcdef",
        }
    )
    assert "Is TIDEGATE_WORKERS meant?" in wrong.refused(command, status=2)


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
def test_a_malformed_setting_stops_the_start(variable: str, value: str) -> None:
    said = Tidegate({variable: value}).refused("serve", status=2)
    assert f"env var: '{variable}'" in said
    assert value in said


def test_every_setting_is_in_the_help() -> None:
    said = " ".join(Tidegate().ok("serve", "--help").split())
    options = {str(each.envvar) for each in serve.params if isinstance(each, click.Option)}
    assert options <= KNOWN
    for variable in options:
        assert f"env var: {variable}" in said


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
def test_addresses_as_they_are_listened_on_and_reached(host: str, bind: str, url: str) -> None:
    settings = replace(SETTINGS, host=host)
    assert (settings.bind, settings.url) == (bind, url)


def test_a_given_key_is_taken_when_it_is_long_enough(tmp_path: Path) -> None:
    assert secret_key("0123456789abcdef", tmp_path / "none") == b"0123456789abcdef"
    assert not (tmp_path / "none").exists()
    with pytest.raises(StartupRefused, match="at least 16 characters"):
        secret_key("0123456789abcde", tmp_path)


def test_a_kept_key_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    key = secret_key(None, folder)
    assert len(key) == 64
    assert secret_key(None, folder) == key
    assert stat.S_IMODE((folder / "secret.key").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [each.name for each in folder.iterdir()] == ["secret.key"]


def test_servers_that_start_together_agree_on_the_key(tmp_path: Path) -> None:
    start = Barrier(8)

    def key(_: int) -> bytes:
        start.wait()
        return secret_key(None, tmp_path / "data")

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(key, range(8)))) == 1


def test_a_folder_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StartupRefused, match="TIDEGATE_DATA_DIR that can be written to"):
        secret_key(None, tmp_path / "file" / "data")


def test_prometheus_is_an_address_alone() -> None:
    assert prometheus_address("") == ""
    assert prometheus_address("https://metrics.local:9090/prefix/") != ""
    for wrong in ("prometheus:9090", "ftp://metrics", "http://", "http://a b"):
        with pytest.raises(StartupRefused, match="such as http://prometheus:9090"):
            prometheus_address(wrong)
    for more in ("http://user:pass@metrics", "http://metrics/?query=up", "http://metrics/#x"):
        with pytest.raises(StartupRefused, match="TIDEGATE_PROMETHEUS_TOKEN"):
            prometheus_address(more)


def test_a_token_for_prometheus_is_one_word() -> None:
    assert checked_token("") == ""
    assert checked_token("eyJhbGciOi.x-_~+/=") == "eyJhbGciOi.x-_~+/="
    for wrong in ("a token", "token\n", "tök"):
        with pytest.raises(StartupRefused, match="how it was read"):
            checked_token(wrong)


@pytest.mark.parametrize("command", ["serve", "policy-job"])
def test_a_wrong_address_of_prometheus_stops_the_start(command: str) -> None:
    wrong = Tidegate(
        {
            "TIDEGATE_PROMETHEUS_URL": "prometheus:9090",
            "TIDEGATE_STORE_URL": "redis://127.0.0.1:1",
            "TIDEGATE_SECRET_KEY": "0123456789abcdef",
        }
    )
    assert "TIDEGATE_PROMETHEUS_URL must be" in wrong.refused(command, status=2)
