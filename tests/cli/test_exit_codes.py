"""Exit statuses and texts of errors."""

from __future__ import annotations

import pytest
from tidegate_server import errors
from tidegate_server.cli.exit_codes import error_text, exit_status
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
def test_each_error_has_an_exit_status(error: TidegateError, status: int) -> None:
    assert exit_status(error) == status


def test_each_field_is_on_its_own_line() -> None:
    fields = (FieldProblem("/a", "Too long."), FieldProblem("", "Too much."))
    assert error_text(Invalid("It cannot be.", *fields)) == (
        "It cannot be.\n  /a: Too long.\n  the whole document: Too much."
    )


def test_a_message_that_repeats_a_field_is_left_out() -> None:
    error = Invalid("Nothing was changed. /a: Too long.", FieldProblem("/a", "Too long."))
    assert error_text(error) == "Refused, nothing changed:\n  /a: Too long."
