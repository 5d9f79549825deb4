"""A page that says what will happen, before something is done that takes something away."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from flask import Response, request

from tidegate_server.dashboard import api, shell
from tidegate_server.dashboard.api import Answer
from tidegate_server.dashboard.forms import FormState, attempt, done, typed
from tidegate_server.dashboard.shell import Shell


@dataclass(frozen=True, slots=True)
class Question:
    """What a page asks.

    Attributes:
        title: the question.
        effects: what will happen: an icon, and a sentence.
        button: the verb that does it.
        icon: the icon of the button.
        leave: the address of the page that asked.
        crumbs: the way to it: the address and the title of each page.
        then: the address where it leads afterwards.
        says: what was done.
        possible: whether it can be done; otherwise the effects say why not.
    """

    title: str
    effects: tuple[tuple[str, str], ...]
    button: str
    icon: str
    leave: str
    crumbs: tuple[tuple[str, str], ...]
    then: str
    says: str
    possible: bool = True


def ask(project: str, question: Question, act: Callable[[], Answer]) -> Response:
    """Show a question in the settings of a project; do what it asks about once it is answered."""
    return confirm(lambda: shell.open_project(project, "settings"), question, act)


def ask_to_delete(project: str, question: Question, *where: str) -> Response:
    """Show a question; delete a document if it is still as its reader saw it when they answer.

    Args:
        project: whose settings have the document.
        question: whether to delete it.
        where: its path in the API.
    """
    etag = api.ask("GET", api.path(*where)).etag

    def act() -> Answer:
        return api.ask("DELETE", api.path(*where), if_match=typed("etag"), reason=typed("reason"))

    return confirm(lambda: shell.open_project(project, "settings"), question, act, etag)


def confirm(
    frame: Callable[[], Shell], question: Question, act: Callable[[], Answer], etag: str = ""
) -> Response:
    """Show a question within a frame; do what it asks about once its reader has answered it.

    Args:
        frame: the frame.
        question: what to ask.
        act: does it.
        etag: of the document that it is about, for the form; empty: it needs none.
    """

    def show(form: FormState) -> Response:
        shown = form.etag(etag) if etag else ""
        return shell.render("confirm.html", frame(), question=question, form=form, etag=shown)

    if request.method == "GET":
        return show(FormState())
    return attempt(act, show, lambda: done(question.then, question.says))
