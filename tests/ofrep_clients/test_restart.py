"""Clients of every kind outlive a restart of the server."""

from __future__ import annotations

from openfeature import api

from tests.ofrep_clients.clients import NodeClient, Page, connected
from tests.ofrep_clients.node import driven
from tests.ofrep_clients.server import Server
from tests.waiting import until


def test_a_server_restart_is_outlived(own_server: Server) -> None:
    shop = own_server.shop()
    url, token = own_server.url, shop.token("sdk")
    with driven("server_client.mjs") as node, driven("web_client.mjs") as web:
        python, javascript = connected(url, token), NodeClient(node, url, token)
        page = Page(web, url, shop.token("client"))

        def values() -> tuple[bool, bool, bool]:
            return (
                python.get_boolean_value("checkout", True),
                javascript.details("boolean", "checkout", True)["value"],
                page.details("boolean", "checkout", True)["value"],
            )

        assert values() == (False, False, False)
        own_server.stop()
        page.do("event", name="Stale")
        # Who asks each time has the default; the page goes on with what it knew.
        assert values() == (True, True, False)
        own_server.start()
        until(lambda: values() == (False, False, False))
        shop.serve("checkout", "on")
        page.do("value", key="checkout", value=True, seconds=25)
        web.do("stop")
        api.clear_providers()
