"""A Flask application under gunicorn whose treatments are slower and sell less."""

from __future__ import annotations

import random
import time

import tidegate
from flask import Flask, request
from tidegate.integrations.flask import Tidegate

app = Flask(__name__)
client = tidegate.Client()
Tidegate(app, client, context=lambda: tidegate.Context(request.cookies.get("visitor")))


@app.get("/slow")
def slow() -> str:
    treated = client.boolean("slow-search", False)
    time.sleep(random.uniform(0.001, 0.003) * (4 if treated else 1))
    return ""


@app.get("/small")
def small() -> str:
    treated = client.boolean("small-basket", False)
    client.measure("basket_value", random.gauss(20 if treated else 40, 10))
    return ""
