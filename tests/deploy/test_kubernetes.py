"""The manifests for Kubernetes."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import urllib3
import yaml
from tidegate_server.processes.settings import KNOWN, check_secret_key
from tidegate_server.store.addresses import parse_store_url
from tidegate_server.web.token_secrets import parse_token

from tests.cli.conftest import RunningServer
from tests.container import ROOT, stages
from tests.deploy.manifests import KUBERNETES, Document, kubernetes, problem_of_object

OBJECTS = kubernetes()


def of_kind(kind: str) -> list[Document]:
    return [each for each in OBJECTS if each["kind"] == kind]


def pods() -> dict[str, Any]:
    """Return the only container of each deployment, with its pod."""
    templates = {
        each["metadata"]["name"]: each["spec"]["template"] for each in of_kind("Deployment")
    }
    return {name: (each["spec"], each["spec"]["containers"][0]) for name, each in templates.items()}


@pytest.mark.parametrize("document", OBJECTS, ids=lambda each: each["kind"])
def test_an_object_has_the_fields_and_types_of_its_kind(document: Document) -> None:
    assert problem_of_object(document) == ""


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"replicaz": 2}, "/spec/replicaz: there is no such field"),
        ({"replicas": "two"}, "Expected `int | null`, got `str` - at `$.spec.replicas`"),
    ],
)
def test_a_mistake_would_be_found(change: dict[str, Any], problem: str) -> None:
    deployment = of_kind("Deployment")[0]
    assert problem_of_object({**deployment, "spec": deployment["spec"] | change}) == problem


def test_every_file_is_part_of_the_kustomization() -> None:
    files = {path.name for path in KUBERNETES.glob("*.yaml")} - {"kustomization.yaml"}
    assert (
        set(yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())["resources"]) == files
    )


def test_selectors_find_the_pods_that_they_are_for() -> None:
    labels = {
        each["metadata"]["name"]: each["spec"]["template"]["metadata"]["labels"]
        for each in of_kind("Deployment")
    }
    for deployment in of_kind("Deployment"):
        name = deployment["metadata"]["name"]
        assert deployment["spec"]["selector"]["matchLabels"] == labels[name]
    server = labels["tidegate-server"]
    (service,), (budget,), (policy,) = (
        of_kind(kind) for kind in ("Service", "PodDisruptionBudget", "NetworkPolicy")
    )
    assert service["spec"]["selector"] == server
    assert budget["spec"]["selector"]["matchLabels"] == server
    for each in labels.values():
        assert policy["spec"]["podSelector"]["matchLabels"].items() <= each.items()
    (port,) = service["spec"]["ports"]
    assert port["targetPort"] in {each["name"] for each in pods()["tidegate-server"][1]["ports"]}


def test_secrets_are_named_and_every_setting_exists() -> None:
    (settings,) = of_kind("ConfigMap")
    assert settings["data"].keys() - KNOWN == set()
    assert not any("SECRET" in name or "TOKEN" in name for name in settings["data"])
    for _, container in pods().values():
        assert {each["name"] for each in container["env"]} - KNOWN == set()
        secret = {
            each["name"]: each["valueFrom"]["secretKeyRef"]
            for each in container["env"]
            if "valueFrom" in each
        }
        assert secret["TIDEGATE_STORE_URL"] == {"name": "tidegate", "key": "store-url"}
        assert secret["TIDEGATE_SECRET_KEY"] == {"name": "tidegate", "key": "secret-key"}
        made = (KUBERNETES / "settings.yaml").read_text()
        assert all(f"--from-literal={each['key']}=" in made for each in secret.values())


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
@pytest.mark.parametrize(
    "file", [ROOT / "docs/operations/kubernetes.md", KUBERNETES / "settings.yaml"]
)
def test_the_commands_for_the_secret_make_what_servers_accept(file: Path) -> None:
    values = dict(re.findall(r'--from-literal=([\w-]+)=("[^"]*"|\S+)', file.read_text()))
    made = {
        name: subprocess.run(
            ["sh", "-c", f"printf %s {value}"], check=True, capture_output=True, text=True
        ).stdout
        for name, value in values.items()
    }
    assert check_secret_key(made["secret-key"])
    assert parse_token(made["bootstrap-token"]) is not None
    assert parse_store_url(made["store-url"]).service == "tidegate"


def test_pods_run_as_the_user_of_the_image_without_needless_rights() -> None:
    user, group = stages()[-1].one("USER").text.split(":")
    for pod, container in pods().values():
        assert pod["automountServiceAccountToken"] is False
        # The variables of a Service named tidegate would be unknown settings.
        assert pod["enableServiceLinks"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == int(user)
        assert pod["securityContext"]["runAsGroup"] == int(group)
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"]["memory"]


def test_probes_and_the_autoscaler_ask_for_what_a_server_has(server: RunningServer) -> None:
    _, container = pods()["tidegate-server"]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        path = container[probe]["httpGet"]["path"]
        assert urllib3.request("GET", server.url + path).status == 200
    (scaler,) = of_kind("HorizontalPodAutoscaler")
    (metric,) = (
        each["pods"]["metric"]["name"] for each in scaler["spec"]["metrics"] if "pods" in each
    )
    token = {"Authorization": f"Bearer {server.token}"}
    metrics = urllib3.request("GET", f"{server.url}/metrics", headers=token).data.decode()
    assert f"# TYPE {metric} gauge" in metrics
    assert scaler["spec"]["scaleTargetRef"]["name"] in pods()
    assert scaler["spec"]["minReplicas"] >= 2
