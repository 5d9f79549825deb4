"""Every kind of client recovers from a restart of the server."""

from __future__ import annotations

from openfeature import api

from tests.ofrep_clients.clients import NodeClient, Page, connect
from tests.ofrep_clients.node import driven
from tests.ofrep_clients.server import Server
from tests.waiting import until


def test_clients_recover_from_a_server_restart(own_server: Server) -> None:
    shop = own_server.shop()
    url, token = own_server.url, shop.token("sdk")
    with driven("server_client.mjs") as node, driven("web_client.mjs") as web:
        python, javascript = connect(url, token), NodeClient(node, url, token)
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
        # Clients that ask each time get the default; the page keeps its last flags.
        assert values() == (True, True, False)
        own_server.start()
        until(lambda: values() == (False, False, False))
        shop.serve("checkout", "on")
        page.do("value", key="checkout", value=True)
        web.do("stop")
        api.clear_providers()
