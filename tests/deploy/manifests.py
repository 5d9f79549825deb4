"""The manifests for Compose and Kubernetes, checked against the types of their specifications."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec
import yaml
from compose_pydantic import ComposeSpecification

DEPLOY = Path(__file__).parents[2] / "deploy"
KUBERNETES = DEPLOY / "kubernetes"

MODULES = {
    "v1": "core_v1",
    "apps/v1": "apps_v1",
    "autoscaling/v2": "autoscaling_v2",
    "networking.k8s.io/v1": "networking_v1",
    "policy/v1": "policy_v1",
}
"""The module of lightkube's types for each group of the API, made from its OpenAPI document."""

Document = dict[str, Any]


def compose() -> Document:
    """Return the Compose file, with its anchors resolved and without what only has them."""
    loaded: Document = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return {key: value for key, value in loaded.items() if not key.startswith("x-")}


def problem_of_compose(document: Document) -> str:
    """Return why a document is no Compose file; empty: it is one."""
    try:
        ComposeSpecification.model_validate(document)
    except ValueError as error:
        return str(error)
    return ""


def kubernetes() -> list[Document]:
    """Return all objects in the folder for Kubernetes, without the list of their files."""
    return [
        document
        for path in sorted(KUBERNETES.glob("*.yaml"))
        if path.name != "kustomization.yaml"
        for document in yaml.safe_load_all(path.read_text())
    ]


def problem_of_object(document: Document) -> str:
    """Return why an object of Kubernetes is not valid; empty: it is.

    Fields have the right types, none is missing, and none is unknown.
    """
    module = import_module(f"lightkube.models.{MODULES[document['apiVersion']]}")
    try:
        read = msgspec.convert(document, getattr(module, document["kind"]))
    except (msgspec.ValidationError, AttributeError) as error:
        return str(error)
    return _difference(document, msgspec.to_builtins(read), "")


def _difference(written: Any, read: Any, path: str) -> str:
    """Return the first field that the type does not know; empty: there is none."""
    if isinstance(written, dict) and isinstance(read, dict):
        for key, value in written.items():
            if key not in read:
                return f"{path}/{key}: there is no such field"
            if found := _difference(value, read[key], f"{path}/{key}"):
                return found
    elif isinstance(written, list) and isinstance(read, list):
        for number, pair in enumerate(zip(written, read, strict=True)):
            if found := _difference(*pair, f"{path}/{number}"):
                return found
    return ""
