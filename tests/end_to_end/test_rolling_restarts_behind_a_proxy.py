"""Servers behind a proxy are restarted all the time while flags change: every client follows."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from itertools import cycle, pairwise
from pathlib import Path

import pytest
import tidegate
import urllib3
from tidegate_server.admin.bootstrap import bootstrap
from tidegate_server.store import Store

from examples.shop.admin import Admin
from examples.shop.plan import boolean_flag
from examples.shop.processes import free_port
from tests.deploy.test_proxies import caddy
from tests.end_to_end.sdk_followers import ENVIRONMENT, SdkFollowers, Seen
from tests.end_to_end.server_processes import ServerProcesses
from tests.end_to_end.test_rolling_restart import NO_ANSWER, PLACE, Client
from tests.http_application import ADMIN_TOKEN, SECRET_KEY
from tests.stores import raw, store, valkey
from tests.waiting import until

__all__ = ["raw", "store", "valkey"]

FLAGS = ["checkout", "search", "basket", "login"]
SERVERS = 3
STREAMS = 60
SDK_PROCESSES, SDK_CLIENTS = 2, 10
RESTART_SECONDS = 180.0
TARGETING = "/api/v1/projects/default/environments/production/flags"


def mistakes(seen: Seen, versions: Mapping[str, int], values: Mapping[str, bool]) -> list[str]:
    """Return what a client did not see, or saw in the wrong order.

    Args:
        versions: the last versions of the environment and of each flag.
        values: the last value of each flag.
    """
    found = []
    for key, last in versions.items():
        numbers = seen.versions.get(key, [])
        name = key or "the environment"
        found += [
            f"{name}: {after} after {before}"
            for before, after in pairwise(numbers)
            if after < before
        ]
        if numbers[-1:] != [last]:
            found.append(f"{name}: ends with {numbers[-1:]} instead of {last}")
    found += [
        f"{key}: serves {seen.values.get(key)} instead of {value}"
        for key, value in values.items()
        if seen.values.get(key) is not value
    ]
    return found


def missing(versions: Sequence[int], last: int) -> list[str]:
    """Return where a stream left out versions, repeated one or went back, and how it ends."""
    found = [
        f"{after} after {before}" for before, after in pairwise(versions) if after != before + 1
    ]
    return found if versions[-1:] == [last] else [*found, f"ends with {versions[-1:]}"]


def test_the_checker_finds_what_is_missing_or_went_back() -> None:
    def found(environment: list[int], flag: list[int], value: bool = True) -> list[str]:
        seen = Seen({ENVIRONMENT: environment, "checkout": flag}, {"checkout": value})
        return mistakes(seen, {ENVIRONMENT: 9, "checkout": 4}, {"checkout": True})

    assert found([2, 5, 9], [1, 4]) == []
    assert found([2, 5, 3, 9], [1, 4]) == ["the environment: 3 after 5"]
    assert found([2, 5, 9], [3, 4, 3, 4]) == ["checkout: 3 after 4"]
    assert found([2, 8], [1, 4]) == ["the environment: ends with [8] instead of 9"]
    assert found([2, 9], []) == ["checkout: ends with [] instead of 4"]
    assert found([2, 9], [4], value=False) == ["checkout: serves False instead of True"]
    assert missing([3, 4, 5], 5) == []
    assert missing([3, 5], 5) == ["5 after 3"]
    assert missing([3, 4, 4, 5], 5) == ["4 after 4"]
    assert missing([3, 4, 3, 4, 5], 5) == ["3 after 4"]
    assert missing([3, 4], 5) == ["ends with [4]"]
    assert missing([], 5) == ["ends with []"]


class ServersBehindCaddy(ServerProcesses):
    """Servers with two web processes each, and Caddy with the settings of ``deploy/caddy``."""

    def __init__(self, folder: Path, store_url: str) -> None:
        super().__init__(folder, store_url, SERVERS, 2)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        command = caddy(folder, self.port, " ".join(f"127.0.0.1:{port}" for port in self.ports))
        variables = {**command.variables, "TIDEGATE_ADDRESS": self.url}
        self.processes.start("caddy", command.words, variables)
        self.processes.wait_for("the proxy is ready", Admin(self.url, ADMIN_TOKEN).ready)


class Changer:
    """Kills and restores a flag all the time, through the proxy."""

    def __init__(self, url: str, flag: str) -> None:
        self.made = 0
        self._url = f"{url}{TARGETING}/{flag}"
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._ending.set()
        self._thread.join()

    def _run(self) -> None:
        headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
        http = urllib3.PoolManager(headers=headers, retries=False, timeout=10.0)
        for action in cycle(("kill", "restore")):
            if self._ending.wait(0.1):
                return
            try:
                response = http.request("POST", f"{self._url}/{action}", json={"reason": "a test"})
            except NO_ANSWER:
                continue
            self.made += response.status == 200


def turn_on(url: str) -> None:
    targeting = {"enabled": True, "off_variant": "off", "default": {"variant": "on"}}
    headers = {"Authorization": f"Bearer {ADMIN_TOKEN}", "If-Match": "*"}
    assert urllib3.request("PUT", url, json=targeting, headers=headers).status == 200


@pytest.mark.long
def test_every_client_follows_all_changes(store: Store, tmp_path: Path) -> None:
    if shutil.which("caddy") is None:
        pytest.skip("needs caddy")
    bootstrap(store, SECRET_KEY, ADMIN_TOKEN)
    with ExitStack() as ending:
        servers = ServersBehindCaddy(tmp_path, store.url)
        ending.callback(servers.stop)
        admin = Admin(servers.url, ADMIN_TOKEN)
        for flag in FLAGS:
            admin.create("flags", boolean_flag(flag, ""))
            turn_on(f"{servers.url}{TARGETING}/{flag}")
        token = admin.sdk_token("shop")
        streams = [Client([servers.port], token, 0) for _ in range(STREAMS)]
        followers = [
            SdkFollowers(servers.url, token, FLAGS, SDK_CLIENTS) for _ in range(SDK_PROCESSES)
        ]
        for follower in followers:
            ending.callback(follower.stop)
        until(lambda: all(stream.versions for stream in streams), "every stream has flags")
        changers = [Changer(servers.url, flag) for flag in FLAGS]
        deadline = time.monotonic() + RESTART_SECONDS
        restarts = 0
        try:
            while time.monotonic() < deadline or restarts < 2 * SERVERS:
                made = [changer.made for changer in changers]
                until(
                    lambda made=made: all(  # type: ignore[misc]
                        changer.made > before
                        for changer, before in zip(changers, made, strict=True)
                    ),
                    "changes go on",
                )
                servers.restart(restarts % SERVERS)
                restarts += 1
        finally:
            for changer in changers:
                changer.stop()

        last = store.version(*PLACE)
        headers = {"Authorization": f"Bearer {token}"}
        document = urllib3.request("GET", f"{servers.url}/sdk/v1/snapshot", headers=headers).data
        final = tidegate.Client.offline(document)
        values = {flag: final.boolean(flag, False) for flag in FLAGS}
        versions = {
            flag: final.boolean_details(flag, False).metadata["flagVersion"] for flag in FLAGS
        }
        versions[ENVIRONMENT] = last
        until(lambda: all(stream.versions[-1] == last for stream in streams), "all have the last")

        def found() -> list[str]:
            return [
                mistake
                for follower in followers
                for seen in follower.seen()
                for mistake in mistakes(seen, versions, values)
            ]

        until(lambda: not any("ends" in each for each in found()), "all SDKs have the last version")
        assert found() == []
        for stream in streams:
            stream.ending = True
            assert missing(stream.versions, last) == []
            assert stream.connections > 1
        assert all(version > 2 for version in versions.values()), versions
