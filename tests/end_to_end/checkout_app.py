"""A Flask application under gunicorn that returns each evaluation in the response headers.

The tests compare these responses with what Tidegate counts. Control fails at a low rate. The
treatment works until the file ``BROKEN`` exists, then it fails always.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import tidegate
from flask import Flask, Response, request
from tidegate.integrations.flask import Tidegate

app = Flask(__name__)
client = tidegate.Client()
Tidegate(app, client, context=lambda: tidegate.Context(request.cookies.get("visitor")))
broken = Path(os.environ["BROKEN"])


@app.get("/work")
def work() -> Response:
    details = client.boolean_details("fast-checkout", False)
    if details.value:
        fails = broken.exists()
    else:
        fails = details.variant == "off" and random.random() < 0.005
    return Response(
        status=500 if fails else 204,
        headers={
            "Release": str(details.metadata.get("releaseId", "")),
            "Variant": details.variant or "",
            "Process": str(os.getpid()),
        },
    )
