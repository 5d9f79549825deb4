"""`tidegate identity-provider`."""

from __future__ import annotations

import json
from uuid import uuid4

import pytest

from tests.cli.calls import Tidegate


@pytest.fixture
def key() -> str:
    """A key that no other test uses."""
    return f"idp-{uuid4().hex[:8]}"


def test_a_provider_is_created_mapped_and_deleted(checkout: Tidegate, key: str) -> None:
    issuer = f"https://{key}.example.com"
    provider = ("identity-provider",)
    created = checkout.ok(
        *(*provider, "create", key, "--issuer", issuer, "--client-id", "tidegate"),
        *("--name", "Example", "--email-domain", "example.com", "--create-people"),
    )
    assert f"Identity provider {key} created." in created
    assert "has its secret" in checkout.ok(*provider, "set-secret", key, stdin="a given secret\n")
    project = checkout.variables["TIDEGATE_PROJECT"]
    checkout.ok(*provider, "map", key, "devs", "--role", "developer", "--project", project)
    checkout.ok(*provider, "map", key, "devs", "--role", "responder", "--project", project)
    shown = checkout.ok(*provider, "show", key)
    assert f"devs: developer of project {project}, responder of project {project}" in shown
    assert f"/sign-in/with/{key}/callback" in shown
    assert "a given secret" not in shown
    assert "nobody" in checkout.refused(*provider, "test", "nobody")
    assert "There is no mapping" in checkout.refused(*provider, "unmap", key, "ops", status=2)
    developer = ("--role", "developer", "--project", project)
    checkout.ok(*provider, "unmap", key, "devs", *developer)
    again = checkout.refused(*provider, "unmap", key, "devs", *developer, status=2)
    assert f"It gives devs: responder of project {project}." in again
    assert f"devs: responder of project {project}" in checkout.ok(*provider, "show", key)
    nowhere = checkout.refused(*provider, "unmap", key, "devs", "--project", project, status=2)
    assert "Say which role" in nowhere
    checkout.ok(*provider, "unmap", key, "devs")
    assert checkout.json(*provider, "show", key)["group_mappings"] == []
    file = json.dumps({**checkout.json(*provider, "show", key), "name": "Another"})
    assert "replaced" in checkout.ok(*provider, "put", "-", stdin=file)
    assert "Another" in checkout.ok(*provider, "list")
    assert checkout.json(*provider, "show", key)["has_client_secret"] is True
    checkout.ok(*provider, "delete-secret", key, "--yes")
    assert checkout.json(*provider, "show", key)["has_client_secret"] is False
    assert "disable" in checkout.ok(*provider, "edit", "--help")
    checkout.ok(*provider, "edit", key, "--disable")
    assert checkout.json(*provider, "show", key)["enabled"] is False
    checkout.ok(*provider, "delete", key, "--yes")
