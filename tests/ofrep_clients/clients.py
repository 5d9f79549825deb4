"""OpenFeature's clients of the remote evaluation protocol."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.contrib.provider.ofrep import OFREPProvider

from tests.ofrep_clients.node import Driver

ANN = {"targetingKey": "ann", "plan": "free", "address": {"country": "DE"}}


def connect(url: str, token: str) -> OpenFeatureClient:
    """Return the client of a Python application."""
    headers = {"Authorization": f"Bearer {token}"}
    domain = uuid4().hex
    api.set_provider(OFREPProvider(url, headers_factory=lambda: headers), domain)
    return api.get_client(domain)


class NodeClient:
    """The client of a Node.js application."""

    def __init__(self, node: Driver, url: str, token: str) -> None:
        self._node = node
        node.do("start", url=url, token=token)

    def details(self, type: str, key: str, fallback: Any, context: Any = ANN) -> dict[str, Any]:
        details: dict[str, Any] = self._node.do(
            "details", type=type, key=key, fallback=fallback, context=context
        )
        return details


class Page:
    """The client of a web page."""

    def __init__(
        self, web: Driver, url: str, token: str, context: Any = ANN, **options: Any
    ) -> None:
        self._web = web
        web.do("start", url=url, token=token, context=context, options=options)

    def details(self, type: str, key: str, fallback: Any) -> dict[str, Any]:
        details: dict[str, Any] = self._web.do("details", type=type, key=key, fallback=fallback)
        return details

    def do(self, what: str, **arguments: Any) -> Any:
        return self._web.do(what, **arguments)

    def statuses(self) -> list[int]:
        """Return the statuses of all responses so far."""
        return [each["status"] for each in self._web.do("requests")]
