"""How errors end: what the exit status says, and what is printed."""

from __future__ import annotations

import pytest
from tidegate_server import errors
from tidegate_server.cli.exit_codes import sentence_of, status_of
from tidegate_server.errors import FieldProblem, Invalid, ServerRefused, TidegateError


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.StartupRefused("x"), 2),
        (errors.Unreadable("x"), 2),
        (ServerRefused("x", 422), 3),
        (errors.ServerUnreachable("x"), 4),
        (errors.StoreUnavailable("x"), 4),
    ],
)
def test_each_error_has_its_status(error: TidegateError, status: int) -> None:
    assert status_of(error) == status


def test_fields_stand_on_lines_of_their_own() -> None:
    fields = (FieldProblem("/a", "Too long."), FieldProblem("", "Too much."))
    assert sentence_of(Invalid("It cannot be.", *fields)) == (
        "It cannot be.\n  /a: Too long.\n  the whole document: Too much."
    )


def test_nothing_is_said_twice() -> None:
    error = Invalid("Nothing was changed. /a: Too long.", FieldProblem("/a", "Too long."))
    assert sentence_of(error) == "Refused, and nothing was changed:\n  /a: Too long."
