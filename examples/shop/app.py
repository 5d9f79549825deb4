"""A small shop: the application whose releases the quickstart tells about.

Every request is one unit of work; the Flask integration reports how it ended. The client is
made at import, before gunicorn forks, and works in every worker.

Run it with ``gunicorn --preload --workers 2 examples.shop.app:app``; the environment variables
TIDEGATE_URL and TIDEGATE_TOKEN name the server.
"""

from __future__ import annotations

import random
from zlib import crc32

import tidegate
from flask import Flask, Response, request
from tidegate.integrations.flask import Tidegate

CARD_TROUBLE = 0.5
"""How often the payment provider refuses a card that it does not like."""
TIMEOUTS = 0.005
"""How often the payment provider does not answer in time, whoever pays."""

app = Flask(__name__)
client = tidegate.Client()


def visitor() -> tidegate.Context:
    """Who is asking: a visitor of the shop, logged in or not."""
    return tidegate.Context(
        request.cookies.get("visitor"), logged_in=request.cookies.get("session") is not None
    )


Tidegate(app, client, context=visitor)


class PaymentFailed(Exception):
    """The payment provider refused, or did not answer in time."""


def one_in(n: int, trait: str, shopper: str) -> bool:
    """Whether a shopper has a trait that one in ``n`` has: always the same for the same one."""
    return crc32(f"{trait}:{shopper}".encode()) % n == 0


def pay(shopper: str) -> None:
    """Charge the shopper's card at a provider that fails for one payment in a hundred.

    One card in a hundred fails every other time; the rest of the failures is spread evenly.
    Which checkout calls makes no difference.

    Raises:
        PaymentFailed: no money came.
    """
    trouble = CARD_TROUBLE if one_in(100, "card", shopper) else TIMEOUTS
    if random.random() < trouble:
        raise PaymentFailed


@app.errorhandler(PaymentFailed)
def payment_failed(_: PaymentFailed) -> Response:
    return Response("The payment did not go through. Please try again.\n", status=503)


@app.get("/")
def home() -> Response:
    return Response("Welcome to the shop: /checkout, /search?q=lamp\n", mimetype="text/plain")


@app.get("/health")
def health() -> Response:
    """Answers once this worker has its flags."""
    return Response(status=204 if client.wait_until_ready(timeout=0) else 503)


@app.route("/checkout", methods=["GET", "POST"])
def checkout() -> Response:
    """Pays for the basket: in three steps, or, when the release is open, in one."""
    shopper = request.cookies.get("visitor", "")
    steps = 1 if client.boolean("fast-checkout", False) else 3
    pay(shopper)
    return Response(f"Thank you. It took {steps} steps.\n", mimetype="text/plain")


@app.get("/search")
def search() -> Response:
    """Finds things: by name, or, when the release is open, by what the shopper bought before."""
    shopper = request.cookies.get("visitor", "")
    query = request.args.get("q", "")
    if random.random() < TIMEOUTS:
        return Response("The index did not answer in time.\n", status=503)
    if client.boolean("broken-search", False):
        return Response(f"{query}, since you liked {last_purchase(shopper)}\n")
    return Response(f"everything about {query}\n", mimetype="text/plain")


def last_purchase(shopper: str) -> str:
    """What a shopper bought last. The bug: one in five never bought anything.

    Raises:
        KeyError: for those who never did.
    """
    purchases = {} if one_in(5, "newcomer", shopper) else {shopper: "a lamp"}
    return purchases[shopper]
