"""The whole Compose file, run as processes: stores, Sentinels, servers, policy job and proxy."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis
import urllib3

from examples.shop.processes import free_port
from tests.cli.calls import PROGRAM
from tests.container import stages
from tests.deploy.containers import (
    PASSWORD,
    SERVICES,
    WEB,
    Container,
    ValkeyContainer,
    valkey_programs,
)
from tests.waiting import until

DEPLOY = Path(__file__).parents[2] / "deploy"
STORES = ("store-1", "store-2", "store-3")
SENTINELS = ("sentinel-1", "sentinel-2", "sentinel-3")
BOOTSTRAP = "0123456789abcdef0123456789abcdef0123456789abcdef"
HEADERS = {"Authorization": f"Bearer {BOOTSTRAP}"}

pytestmark = [
    pytest.mark.topologies,
    pytest.mark.skipif(shutil.which("caddy") is None, reason="needs caddy"),
]


@dataclass
class Deployment:
    """The running containers, and the port of each."""

    containers: dict[str, Container]
    ports: dict[str, int]

    @property
    def url(self) -> str:
        """Where the proxy is."""
        return f"http://localhost:{self.ports['proxy']}"

    def roles(self) -> dict[str, str]:
        """Return the role of each store that answers."""
        found = {}
        for name in STORES:
            with suppress(redis.exceptions.RedisError), self._client(name) as client:
                found[name] = client.info("replication")["role"]
        return found

    def _client(self, name: str) -> redis.Redis:
        container = self.containers[name]
        assert isinstance(container, ValkeyContainer)
        return container.client()

    def known(self, sentinel: str) -> tuple[int, int]:
        """Return how many replicas and other Sentinels a Sentinel knows."""
        with self._client(sentinel) as client:
            found: dict[str, Any] = client.sentinel_master("tidegate")
        return int(found["num-slaves"]), int(found["num-other-sentinels"])

    def create_flag(self, key: str) -> int:
        """Create a flag through the proxy; return the status, 0 without an answer."""
        url = f"{self.url}/api/v1/projects/default/flags"
        with suppress(urllib3.exceptions.HTTPError):
            body = {"key": key, "type": "boolean"}
            sent = urllib3.request("POST", url, headers=HEADERS, json=body, retries=False)
            return int(sent.status)
        return 0


def server_variables(name: str, folder: Path, port: int) -> dict[str, str]:
    """Return the variables of the image and of the service, with the paths of this machine."""
    variables = {
        name: value.replace("/run/secrets", str(folder)).replace("/data", f"{folder}/{name}-data")
        for name, value in {
            **stages()[-1].environment(),
            **{key: str(value) for key, value in SERVICES[name]["environment"].items()},
        }.items()
    }
    return {
        **variables,
        "PATH": os.environ["PATH"],
        "TIDEGATE_HOST": "127.0.0.1",
        "TIDEGATE_PORT": str(port),
        "TIDEGATE_PUBLIC_URL": "https://localhost",
        "TIDEGATE_TRUSTED_PROXIES": "127.0.0.1",
    }


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    path = valkey_programs(tmp_path / "bin")
    ports = {name: free_port() for name in SERVICES}
    sentinels = ",".join(f"localhost:{ports[name]}" for name in SENTINELS)
    for name, text in {
        "store-password": PASSWORD,
        "store-url": f"valkey-sentinel://:{PASSWORD}@{sentinels}/tidegate",
        "secret-key": "0123456789abcdef",
        "bootstrap-token": BOOTSTRAP,
    }.items():
        (tmp_path / name).write_text(text)
    primary = ports["store-1"]
    containers: dict[str, Container] = {}
    for name in STORES:
        follows = {"STORE_REPLICATES": "localhost"} if name != "store-1" else {}
        containers[name] = ValkeyContainer(
            name,
            tmp_path / name,
            path,
            ports[name],
            {"STORE_NAME": "localhost", **follows},
            {"STORE_REPLICATES 6379": f"STORE_REPLICATES {primary}"},
        )
    for name in SENTINELS:
        containers[name] = ValkeyContainer(
            name,
            tmp_path / name,
            path,
            ports[name],
            {"SENTINEL_NAME": "localhost"},
            {"store-1 6379": f"localhost {primary}"},
        )
    entry = stages()[-1].one("ENTRYPOINT").arguments
    for name in (*WEB, "policy-job"):
        words = SERVICES[name].get("entrypoint", entry)
        assert words[0] == "tidegate"
        variables = server_variables(name, tmp_path, ports[name])
        containers[name] = Container(tmp_path, name, [PROGRAM, *words[1:]], variables)
    settings = tmp_path / "Caddyfile"
    # Its own interface for administration has a fixed port, and is not needed.
    text = (DEPLOY / "caddy" / "Caddyfile").read_text().replace("{\n", "{\n\tadmin off\n", 1)
    settings.write_text(text)
    containers["proxy"] = Container(
        tmp_path,
        "proxy",
        ["caddy", "run", "--config", str(settings), "--adapter", "caddyfile"],
        {
            "PATH": os.environ["PATH"],
            "TIDEGATE_ADDRESS": f"http://localhost:{ports['proxy']}",
            "TIDEGATE_SERVERS": " ".join(f"127.0.0.1:{ports[name]}" for name in WEB),
            "XDG_DATA_HOME": str(tmp_path),
            "XDG_CONFIG_HOME": str(tmp_path),
        },
    )
    assert containers.keys() == SERVICES.keys()
    made = Deployment(containers, ports)
    try:
        for container in containers.values():
            container.start()
        yield made
    finally:
        for name in reversed(list(containers)):
            containers[name].stop()


def is_healthy(port: int) -> bool:
    """Run the health check of the image."""
    words = json.loads(stages()[-1].one("HEALTHCHECK").text.partition("CMD ")[2])
    assert words[0] == "python"
    checked = subprocess.run(
        [sys.executable, *words[1:]],
        env={**os.environ, "TIDEGATE_PORT": str(port)},
        capture_output=True,
        check=False,
    )
    return checked.returncode == 0


def test_all_of_it_goes_on_without_a_server_and_without_the_primary(
    deployment: Deployment,
) -> None:
    containers = deployment.containers
    until(lambda: all(deployment.known(each) == (2, 2) for each in SENTINELS), "the Sentinels")
    for name in WEB:
        until(lambda name=name: containers[name].runs() and is_healthy(deployment.ports[name]))  # type: ignore[misc]
    ready = urllib3.request("GET", f"{deployment.url}/health/ready").json()
    assert ready["durability"] == "disk"
    assert deployment.create_flag("first") == 201

    containers["server-1"].stop()
    until(lambda: deployment.create_flag("without-a-server") in (201, 409), "the other server")

    containers["store-1"].kill()
    until(lambda: "master" in deployment.roles().values(), "another primary")
    until(lambda: deployment.create_flag("after-a-failover") in (201, 409), "a change")
    containers["store-1"].start()
    until(lambda: deployment.roles()["store-1"] == "slave", "the earlier primary follows")

    listed = urllib3.request(
        "GET", f"{deployment.url}/api/v1/projects/default/flags", headers=HEADERS
    ).json()
    assert {flag["key"] for flag in listed["items"]} == {
        "first",
        "without-a-server",
        "after-a-failover",
    }
    assert containers["policy-job"].runs()
    assert containers["proxy"].runs()
