"""Code to paste into an application, with its server's address, its flag and its token."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Snippet:
    """One piece of code.

    Attributes:
        where: the file that it belongs to, or ``shell``.
        code: the text.
    """

    where: str
    code: str


@dataclass(frozen=True, slots=True)
class Guide:
    """How to connect one kind of application.

    Attributes:
        name, title: in the address, and in words.
        role: the role of the token that it needs.
        snippets: in the order in which they are pasted.
        then: what to do afterwards.
    """

    name: str
    title: str
    role: str
    snippets: tuple[Snippet, ...]
    then: str


@dataclass(frozen=True, slots=True)
class Setting:
    """What the code is about.

    Attributes:
        url: the server's address, as applications reach it.
        flag, type: the flag's key and its type.
        token: its text, or what stands for it.
        application: what the application calls itself.
    """

    url: str
    flag: str
    type: str
    token: str
    application: str


TITLES: Final = (
    ("python", "Python"),
    ("flask", "Flask"),
    ("django", "Django"),
    ("fastapi", "FastAPI"),
    ("openfeature", "OpenFeature"),
    ("javascript", "JavaScript"),
)
"""The name and the title of each guide."""

PYTHON_CALLS: Final = {
    "boolean": ("boolean", "get_boolean_value", "False"),
    "string": ("string", "get_string_value", '""'),
    "number": ("float", "get_float_value", "0.0"),
    "object": ("object", "get_object_value", "{}"),
}
"""For each type of flag: the SDK's method, OpenFeature's method, and a default."""

JAVASCRIPT_CALLS: Final = {
    "boolean": ("getBooleanValue", "false"),
    "string": ("getStringValue", '""'),
    "number": ("getNumberValue", "0"),
    "object": ("getObjectValue", "{}"),
}


DJANGO_INSTALL: Final = 'pip install "tidegate[django]"'
NPM_INSTALL: Final = "npm install @openfeature/web-sdk @openfeature/ofrep-web-provider"


def guide(name: str, setting: Setting) -> Guide:
    """Return a guide.

    Args:
        name: one of ``TITLES``.
        setting: what it is about.
    """
    method, remote_method, default = PYTHON_CALLS[setting.type]
    call = f"client.{method}({json.dumps(setting.flag)}, {default})"
    remote = f"client.{remote_method}({json.dumps(setting.flag)}, {default}, visitor)"
    snippets: tuple[Snippet, ...]
    match name:
        case "flask":
            snippets = (
                _shell(setting, 'pip install "tidegate[flask]"'),
                Snippet("app.py", _FLASK.replace("CALL", call)),
                Snippet("shell", "flask --app app run --port 5000"),
            )
            then = "Open http://127.0.0.1:5000 once: a request asks for the flag."
        case "django":
            snippets = (
                _shell(setting, DJANGO_INSTALL, "django-admin startproject mysite ."),
                Snippet("mysite/flags.py", _DJANGO_FLAGS),
                Snippet("mysite/settings.py, at its end", _DJANGO_SETTINGS),
                Snippet("mysite/urls.py", _DJANGO_URLS.replace("CALL", call)),
                Snippet("shell", "python manage.py runserver 8000"),
            )
            then = (
                "Leave out startproject if you have a project, and write its name for mysite. "
                "Open http://127.0.0.1:8000 once: a request asks for the flag."
            )
        case "fastapi":
            snippets = (
                _shell(setting, "pip install tidegate fastapi uvicorn"),
                Snippet("main.py", _FASTAPI.replace("CALL", call)),
                Snippet("shell", "uvicorn main:app --port 8000"),
            )
            then = "Open http://127.0.0.1:8000 once: a request asks for the flag."
        case "openfeature":
            snippets = (
                _shell(setting, 'pip install "tidegate[openfeature]"'),
                Snippet("hello.py", _OPENFEATURE.replace("CALL", remote)),
                Snippet("shell", "python hello.py"),
            )
            then = "It asks for the flag once, and ends."
        case "javascript":
            snippets = (
                Snippet("shell", NPM_INSTALL),
                Snippet("page.js", _page(setting)),
            )
            then = "Load the page. Everybody can read its token, so the token only evaluates flags."
        case _:
            snippets = (
                _shell(setting, "pip install tidegate"),
                Snippet("hello.py", _PYTHON.replace("CALL", call)),
                Snippet("shell", "python hello.py"),
            )
            then = "It asks for the flag once, and ends."
    role = "client" if name == "javascript" else "sdk"
    return Guide(name, dict(TITLES)[name], role, snippets, then)


def _shell(setting: Setting, *commands: str) -> Snippet:
    variables = (
        f"export TIDEGATE_URL={setting.url}",
        f"export TIDEGATE_TOKEN={setting.token}",
        f"export TIDEGATE_APPLICATION={setting.application}",
    )
    return Snippet("shell", "\n".join((*commands, *variables)))


def _page(setting: Setting) -> str:
    method, default = JAVASCRIPT_CALLS[setting.type]
    return (
        _JAVASCRIPT.replace("URL", json.dumps(setting.url))
        .replace("TOKEN", setting.token)
        .replace("CALL", f"client.{method}({json.dumps(setting.flag)}, {default})")
    )


_PYTHON = """\
import tidegate

client = tidegate.Client()
client.wait_until_ready(timeout=5)
with client.operation(tidegate.Context("somebody")):
    print(CALL)
"""

_FLASK = """\
import tidegate
from flask import Flask
from tidegate.integrations.flask import Tidegate
from tidegate.integrations.visitor_cookie import VisitorCookie

app = Flask(__name__)
client = tidegate.Client()
Tidegate(app, client, visitor_cookie=VisitorCookie())

@app.get("/")
def home() -> str:
    return str(CALL)
"""

_DJANGO_FLAGS = """\
import tidegate
from tidegate.integrations.visitor_cookie import VisitorCookie

client = tidegate.Client()
cookie = VisitorCookie()
"""

_DJANGO_SETTINGS = """\
MIDDLEWARE.insert(0, "tidegate.integrations.django.TidegateMiddleware")
TIDEGATE = {"client": "mysite.flags.client", "visitor_cookie": "mysite.flags.cookie"}
"""

_DJANGO_URLS = """\
from django.http import HttpResponse
from django.urls import path

from mysite.flags import client

def home(request):
    return HttpResponse(str(CALL))

urlpatterns = [path("", home)]
"""

_FASTAPI = """\
import tidegate
from fastapi import FastAPI
from tidegate.integrations.asgi import TidegateMiddleware
from tidegate.integrations.visitor_cookie import VisitorCookie

client = tidegate.Client()
app = FastAPI()
app.add_middleware(TidegateMiddleware, client=client, visitor_cookie=VisitorCookie())

@app.get("/")
async def home() -> str:
    return str(CALL)
"""

_OPENFEATURE = """\
import tidegate
from openfeature import api
from openfeature.evaluation_context import EvaluationContext
from tidegate.integrations.openfeature import TidegateProvider

api.set_provider_and_wait(TidegateProvider(tidegate.Client()))
client = api.get_client()
visitor = EvaluationContext("somebody")
print(CALL)
api.shutdown()
"""

_JAVASCRIPT = """\
import { OFREPWebProvider } from "@openfeature/ofrep-web-provider";
import { OpenFeature } from "@openfeature/web-sdk";

await OpenFeature.setContext({ targetingKey: "somebody" });
await OpenFeature.setProviderAndWait(
  new OFREPWebProvider({
    baseUrl: URL,
    headers: [["Authorization", "Bearer TOKEN"]],
  }),
);
const client = OpenFeature.getClient();
console.log(CALL);
"""
