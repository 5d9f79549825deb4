"""The Compose file: what it says, and what its store does with a real Valkey."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path

import pytest
from tidegate_server.processes.settings import KNOWN, check_secret_key
from tidegate_server.store.addresses import Topology, parse_store_url
from tidegate_server.web.token_secrets import parse_token

from examples.shop.processes import free_port
from tests.container import ROOT, stages
from tests.deploy.containers import PASSWORD, SERVICES, WEB, ValkeyContainer, valkey_programs
from tests.deploy.manifests import compose, problem_of_compose
from tests.waiting import until


def test_it_is_a_compose_file() -> None:
    assert problem_of_compose(compose()) == ""


def test_a_mistake_in_it_would_be_found() -> None:
    document = compose()
    document["services"]["server-1"]["health_check"] = {"disable": True}
    assert "health_check" in problem_of_compose(document)


def test_the_proxy_has_both_servers_and_they_trust_its_network() -> None:
    servers = SERVICES["proxy"]["environment"]["TIDEGATE_SERVERS"]
    assert servers.split() == [f"{name}:8080" for name in WEB]
    (network,) = compose()["networks"]["servers"]["ipam"]["config"]
    for name in WEB:
        trusted = SERVICES[name]["environment"]["TIDEGATE_TRUSTED_PROXIES"]
        assert ip_network(trusted) == ip_network(network["subnet"])
    assert [name for name, each in SERVICES.items() if "ports" in each] == ["proxy"]


def test_servers_and_policy_job_use_settings_that_exist_and_secrets_from_files() -> None:
    secrets = compose()["secrets"]
    for name in (*WEB, "policy-job"):
        service = SERVICES[name]
        assert service["environment"].keys() - KNOWN == set()
        named = {
            Path(value).name
            for key, value in service["environment"].items()
            if key.endswith("_FILE")
        }
        assert {"store-url", "secret-key"} <= named <= set(service["secrets"]) <= set(secrets)
        assert not {"TIDEGATE_SECRET_KEY", "TIDEGATE_STORE_URL"} & set(service["environment"])


def test_every_container_is_checked_limited_and_without_needless_rights() -> None:
    for name, service in SERVICES.items():
        assert service["restart"] == "unless-stopped"
        assert service["ulimits"]["nofile"]["hard"] >= 65536
        if name not in (*WEB, "policy-job"):  # the image of the servers has a check of its own
            assert service["healthcheck"]["test"]
        if name != "proxy":
            assert service["read_only"] is True
            assert service["cap_drop"] == ["ALL"]
        for other, condition in service.get("depends_on", {}).items():
            assert condition == {"condition": "service_healthy"}
            assert "disable" not in SERVICES[other].get("healthcheck", {})


def test_the_data_folder_of_a_server_belongs_to_the_user_of_the_image() -> None:
    user, group = stages()[-1].one("USER").text.split(":")
    for name in (*WEB, "policy-job"):
        assert f"/data:uid={user},gid={group},mode=0700" in SERVICES[name]["tmpfs"]


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_the_commands_on_the_page_make_secrets_that_servers_accept(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "operations" / "compose.md").read_text()
    block = re.search(r"^```sh\n(mkdir .*?)^```", page, re.MULTILINE | re.DOTALL)
    assert block is not None
    (tmp_path / "deploy").mkdir()
    subprocess.run(["sh", "-euc", block[1]], cwd=tmp_path, check=True)
    made = {path.name: path.read_text() for path in (tmp_path / "deploy" / "secrets").iterdir()}
    assert made.keys() == compose()["secrets"].keys()
    assert check_secret_key(made["secret-key"])
    assert parse_token(made["bootstrap-token"].strip()) is not None
    store = parse_store_url(made["store-url"])
    sentinels = {name for name in SERVICES if name.startswith("sentinel")}
    assert (store.topology, store.service) == (Topology.SENTINEL, "tidegate")
    assert store.hosts == tuple((name, 26379) for name in sorted(sentinels))
    assert store.credentials["password"] == made["store-password"]


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[list[ValkeyContainer]]:
    """The primary and a replica."""
    path = valkey_programs(tmp_path / "bin")
    (tmp_path / "store-password").write_text(f"{PASSWORD}\n")
    primary, replica = free_port(), free_port()
    made = [
        ValkeyContainer("store-1", tmp_path / "store-1", path, primary),
        ValkeyContainer(
            "store-2",
            tmp_path / "store-2",
            path,
            replica,
            {"STORE_REPLICATES": "127.0.0.1"},
            {"STORE_REPLICATES 6379": f"STORE_REPLICATES {primary}"},
        ),
    ]
    yield made
    for each in made:
        each.stop()


@pytest.mark.skipif(shutil.which("sh") is None, reason="needs sh")
def test_a_store_asks_for_its_password_is_durable_and_remembers_its_role(
    stores: list[ValkeyContainer],
) -> None:
    for each in stores:
        each.start()
    with stores[0].client() as primary, stores[1].client() as replica:
        settings = primary.config_get("*")
        assert settings["requirepass"] == PASSWORD
        assert (settings["appendonly"], settings["appendfsync"]) == ("yes", "always")
        assert settings["maxmemory-policy"] == "noeviction"
        until(lambda: replica.info()["master_link_status"] == "up", "the replica follows")
        # As Sentinels do in a failover.
        replica.replicaof("NO", "ONE")
        replica.config_rewrite()
        stores[1].stop()
    stores[1].start()
    with stores[1].client() as again:
        assert again.info()["role"] == "master"
