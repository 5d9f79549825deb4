"""The forms and the links of a page, as a browser would find, fill in and send them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from itertools import count
from typing import Final

from flask.testing import FlaskClient
from werkzeug.datastructures import MultiDict
from werkzeug.test import TestResponse

from tests.dashboard.filled_server import FilledServer
from tests.people import PASSWORD

FILLED: Final = {
    "date": "2031-05-01",
    "datetime-local": "2031-05-01T09:00",
    "time": "09:30",
    "number": "7",
    "url": "https://typed.example/",
    "email": "typed@shop.example",
}
"""What is typed into fields of these types; into others, words."""


@dataclass(frozen=True)
class Field:
    """A field of a form.

    Attributes:
        kind: ``hidden``, ``checkbox``, ``select``, ``textarea`` or another type of input.
        sent: whether a browser sends it as it is.
    """

    kind: str
    name: str
    value: str
    sent: bool = True


@dataclass
class Form:
    """A form of a page with one of its buttons, as a browser would send it."""

    action: str
    inputs: list[Field] = field(default_factory=list)
    button: tuple[str, str] | None = None

    @property
    def fields(self) -> list[tuple[str, str]]:
        """What a browser sends: the name and the value of each field."""
        sent = [(each.name, each.value) for each in self.inputs if each.sent]
        return [*sent, *([self.button] if self.button else [])]

    @property
    def act(self) -> tuple[str, str]:
        """Where it goes, and what its button says."""
        return self.action, dict(self.fields).get("do", "")

    def filled_in(self, *, choosing: bool = True) -> Form:
        """Return the form as somebody leaves it who has filled in and chosen everything.

        Args:
            choosing: whether they also chose the last of each list.
        """
        numbers = count(1)
        chosen = ("select", "radio") if choosing else ()
        last = {each.name: each for each in self.inputs if each.kind in chosen}
        inputs = [
            replace(each, sent=last[each.name] is each)
            if each.name in last
            else replace(each, sent=True)
            if each.kind == "hidden" or (each.kind == "checkbox" and choosing)
            else each
            if each.kind in ("checkbox", "select", "radio")
            else replace(each, value=FILLED.get(each.kind, f"typed {next(numbers)}"))
            for each in self.inputs
        ]
        return replace(self, inputs=inputs)


class PageForms(HTMLParser):
    """Collects the links of a page, and its forms that post: once for each button."""

    def __init__(self, path: str, text: str) -> None:
        super().__init__()
        self.path = path
        self.forms: list[Form] = []
        self.links: set[str] = set()
        self._inputs: list[Field] | None = None
        self._buttons: list[tuple[str, str] | None] = []
        self._action = ""
        self._select = ""
        self._options: list[Field] = []
        self._area: Field | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        name, value = given.get("name") or "", given.get("value") or ""
        if tag == "a" and given.get("href"):
            self.links.add(given["href"] or "")
        elif tag == "form" and (given.get("method") or "").lower() == "post":
            self._inputs, self._buttons = [], []
            self._action = given.get("action") or self.path
        elif self._inputs is None or "disabled" in given:
            return
        elif tag == "button" and (given.get("type") or "submit") == "submit":
            self._buttons.append((name, value) if name else None)
        elif tag == "input" and name:
            kind = given.get("type") or "text"
            sent = kind not in ("checkbox", "radio") or "checked" in given
            self._inputs.append(Field(kind, name, value, sent))
        elif tag == "select":
            self._select, self._options = name, []
        elif tag == "option" and self._select:
            self._options.append(Field("select", self._select, value, "selected" in given))
            self._says_value = "value" in given
        elif tag == "textarea":
            self._area = Field("textarea", name, "")

    def handle_data(self, data: str) -> None:
        if self._area is not None:
            self._area = replace(self._area, value=self._area.value + data)
        elif self._select and self._options and not self._says_value:
            self._options[-1] = replace(self._options[-1], value=data.strip())
            self._says_value = True

    def handle_endtag(self, tag: str) -> None:
        if self._inputs is None:
            return
        if tag == "form":
            for button in self._buttons:
                self.forms.append(Form(self._action, self._inputs, button))
            self._inputs = None
        elif tag == "select" and self._select:
            if self._options and not any(each.sent for each in self._options):
                self._options[0] = replace(self._options[0], sent=True)
            self._inputs += self._options
            self._select = ""
        elif tag == "textarea" and self._area is not None:
            # A browser leaves out a line break that follows the tag.
            self._inputs.append(replace(self._area, value=self._area.value.removeprefix("\n")))
            self._area = None


@dataclass
class Reader:
    """A person of a role, signed in."""

    client: FlaskClient
    csrf: str

    def get(self, address: str) -> TestResponse:
        return self.client.get(address, follow_redirects=True)

    def send(self, form: Form) -> TestResponse:
        data: MultiDict[str, str] = MultiDict(form.fields)
        data["csrf_token"] = self.csrf
        return self.client.post(form.action, data=data)


def reader(server: FilledServer, called: str) -> Reader:
    """Sign in as a person of the filled server, by their role."""
    client = server.app.test_client()
    body = {"email": f"{called}@shop.example", "password": PASSWORD}
    answer = client.post("/api/v1/sign-in", json=body)
    assert answer.json is not None
    return Reader(client, answer.json["csrf_token"])
