"""A small shop: the application of the quickstart.

Every request is one operation; the Flask integration reports its outcome. The client is created
at import, before gunicorn forks, and works in every worker.

Run it with ``gunicorn --preload --workers 2 examples.shop.app:app``; the environment variables
TIDEGATE_URL and TIDEGATE_TOKEN name the server.
"""

from __future__ import annotations

import random
from zlib import crc32

import tidegate
from flask import Flask, Response, request
from tidegate.integrations.flask import Tidegate

BAD_CARD_FAILURES = 0.5
"""Share of payments with a bad card that fail."""
TIMEOUTS = 0.005
"""Share of all requests to other services that time out."""

app = Flask(__name__)
client = tidegate.Client()


def visitor() -> tidegate.Context:
    """Return the context of a request: a visitor, logged in or not."""
    return tidegate.Context(
        request.cookies.get("visitor"), logged_in=request.cookies.get("session") is not None
    )


Tidegate(app, client, context=visitor)


class PaymentFailed(Exception):
    """The payment provider refused the payment, or timed out."""


def one_in(n: int, trait: str, shopper: str) -> bool:
    """Return whether a shopper is one of one in ``n`` with a trait; stable for each shopper."""
    return crc32(f"{trait}:{shopper}".encode()) % n == 0


def pay(shopper: str) -> None:
    """Charge the shopper's card; one payment in a hundred fails.

    One card in a hundred is bad and fails every other time; the other failures are timeouts.
    Both checkouts fail equally often.

    Raises:
        PaymentFailed: the payment failed.
    """
    failure_rate = BAD_CARD_FAILURES if one_in(100, "card", shopper) else TIMEOUTS
    if random.random() < failure_rate:
        raise PaymentFailed


@app.errorhandler(PaymentFailed)
def payment_failed(_: PaymentFailed) -> Response:
    return Response("The payment did not go through. Please try again.\n", status=503)


@app.get("/")
def home() -> Response:
    return Response("Welcome to the shop: /checkout, /search?q=lamp\n", mimetype="text/plain")


@app.get("/health")
def health() -> Response:
    """Answer 204 once this worker has its flags."""
    return Response(status=204 if client.wait_until_ready(timeout=0) else 503)


@app.route("/checkout", methods=["GET", "POST"])
def checkout() -> Response:
    """Pay for the basket, in three steps, or in one with the new checkout."""
    shopper = request.cookies.get("visitor", "")
    steps = 1 if client.boolean("fast-checkout", False) else 3
    pay(shopper)
    return Response(f"Thank you. It took {steps} steps.\n", mimetype="text/plain")


@app.get("/search")
def search() -> Response:
    """Search by name, or with the new search by what the shopper bought before."""
    shopper = request.cookies.get("visitor", "")
    query = request.args.get("q", "")
    if random.random() < TIMEOUTS:
        return Response("The index did not answer in time.\n", status=503)
    if client.boolean("broken-search", False):
        return Response(f"{query}, since you liked {last_purchase(shopper)}\n")
    return Response(f"everything about {query}\n", mimetype="text/plain")


def last_purchase(shopper: str) -> str:
    """Return what a shopper bought last. The bug: one in five has never bought anything.

    Raises:
        KeyError: the shopper has never bought anything.
    """
    purchases = {} if one_in(5, "newcomer", shopper) else {shopper: "a lamp"}
    return purchases[shopper]
