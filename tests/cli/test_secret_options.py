"""Secrets in files, as orchestrators hand them over."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from tidegate_server.cli.secret_options import secret_option
from tidegate_server.errors import StartupRefused

from tests.cli.calls import Tidegate

SECRET = "a-secret-of-a-test"


@click.command()
@secret_option("--secret-key", "TIDEGATE_SECRET_KEY", "A key.")
def show(secret_key: str | None) -> None:
    """Print the secret."""
    click.echo(secret_key)


def shown(*arguments: str, **variables: str) -> str:
    result = CliRunner().invoke(show, arguments, env=variables)
    if result.exception is not None:
        raise result.exception
    return result.stdout.strip()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "secret-key"
    path.write_text(f"{SECRET}\n")
    return path


def test_a_secret_comes_from_a_file_without_the_line_break_at_its_end(file: Path) -> None:
    assert shown(TIDEGATE_SECRET_KEY_FILE=str(file)) == SECRET
    assert shown(TIDEGATE_SECRET_KEY="from the variable") == "from the variable"
    assert shown() == ""


def test_an_option_takes_precedence_over_the_file(file: Path) -> None:
    assert shown("--secret-key", "given", TIDEGATE_SECRET_KEY_FILE=str(file)) == "given"


def test_a_secret_is_given_in_one_way_only(file: Path) -> None:
    with pytest.raises(StartupRefused, match="TIDEGATE_SECRET_KEY_FILE are both set: unset one"):
        shown(TIDEGATE_SECRET_KEY="x", TIDEGATE_SECRET_KEY_FILE=str(file))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "cannot be read: No such file or directory"),
        (b" \n", "is empty"),
        (b"\xff", "cannot be read: it is not text"),
    ],
)
def test_a_file_that_is_of_no_use_is_named(
    tmp_path: Path, content: bytes | None, reason: str
) -> None:
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StartupRefused, match=f"TIDEGATE_SECRET_KEY_FILE names .*secret.* {reason}"):
        shown(TIDEGATE_SECRET_KEY_FILE=str(path))


def test_a_server_and_a_policy_job_refuse_to_start_with_such_a_file(tmp_path: Path) -> None:
    tidegate = Tidegate({"TIDEGATE_STORE_URL_FILE": str(tmp_path / "none")})
    for command in ("serve", "policy-job"):
        assert "TIDEGATE_STORE_URL_FILE names" in tidegate.refused(command, status=2)


def test_a_secret_that_is_required_has_no_default() -> None:
    @click.command()
    @secret_option("--secret-key", "TIDEGATE_SECRET_KEY", "A key.", required=True)
    @secret_option("--password", "TIDEGATE_PASSWORD", "A password.", default="")
    def run(secret_key: str, password: str) -> None:
        click.echo(f"{secret_key}, {password!r}")

    missing = CliRunner().invoke(run, (), env={"TIDEGATE_SECRET_KEY": None})
    assert "Missing option '--secret-key'" in missing.output
    given = CliRunner().invoke(run, ("--secret-key", SECRET), env={"TIDEGATE_PASSWORD": None})
    assert given.output.strip() == f"{SECRET}, ''"
