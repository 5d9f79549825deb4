"""Validators for the published schemas of the wire formats."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jsonschema_rs import Draft202012Validator, Registry

FOLDER = Path(__file__).parents[1] / "docs" / "wire"

DOCUMENTS: dict[str, dict[str, Any]] = {
    path.name.partition(".")[0]: json.loads(path.read_text())
    for path in FOLDER.glob("*.schema.json")
}
_REGISTRY = Registry([(schema["$id"], schema) for schema in DOCUMENTS.values()])


def _validator(name: str) -> Draft202012Validator:
    return Draft202012Validator(DOCUMENTS[name], registry=_REGISTRY)


SNAPSHOT = _validator("snapshot")
UPDATE = _validator("update")
REPORT = _validator("report")
WEBHOOK = _validator("webhook")


def violations(validator: Draft202012Validator, document: Any) -> list[str]:
    """Return the errors of a document, each with its JSON pointer."""
    return [
        "/".join(["", *map(str, error.instance_path)]) + f": {error.message}"
        for error in validator.iter_errors(document)
    ]
