"""An application that says, in every answer, which release it was exposed to.

It runs in processes of its own, under gunicorn; the answers are the truth that Tidegate's counts
are held against.
"""

from __future__ import annotations

import random

import tidegate
from flask import Flask, Response, request
from tidegate.integrations.flask import Tidegate

app = Flask(__name__)
client = tidegate.Client()
Tidegate(app, client, context=lambda: tidegate.Context(request.cookies.get("visitor")))


@app.get("/work")
def work() -> Response:
    details = client.boolean_details("fast-checkout", False)
    # The treatment is sound: whether a release is stopped is not what is tried here.
    fails = details.variant == "off" and random.random() < 0.005
    return Response(
        status=500 if fails else 204,
        headers={
            "Release": str(details.metadata.get("releaseId", "")),
            "Variant": details.variant or "",
        },
    )
