"""An application whose new path works until somebody breaks it; it runs under gunicorn."""

from __future__ import annotations

import os
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
    return Response(
        status=500 if details.value and broken.exists() else 204,
        headers={
            "Release": str(details.metadata.get("releaseId", "")),
            "Variant": details.variant or "",
        },
    )
