"""`tidegate person`, `group`, `role`, `session`, `whoami`, and signing in from the terminal."""

from __future__ import annotations

import json
from pathlib import Path
from uuid import uuid4

import pyotp
import pytest

from tests.cli.calls import Tidegate, wait_until
from tests.cli.conftest import RunningServer

PASSWORD = "four quiet harbour boats"


@pytest.fixture
def email() -> str:
    """An email that no other test uses."""
    return f"{uuid4().hex[:10]}@example.com"


@pytest.fixture
def user(tmp_path: Path) -> Tidegate:
    """A user whose only variable names the contexts file."""
    return Tidegate({"TIDEGATE_CONFIG": str(tmp_path / "own.json")})


def invited(tidegate: Tidegate, email: str, *arguments: str) -> str:
    return tidegate.ok("person", "invite", email, *arguments).strip()


def project_of(tidegate: Tidegate) -> str:
    return tidegate.variables["TIDEGATE_PROJECT"]


def test_an_invited_person_accepts_in_the_terminal_and_works(
    checkout: Tidegate, user: Tidegate, server: RunningServer, email: str
) -> None:
    project = project_of(checkout)
    link = invited(checkout, email, "--role", "developer", "--project", project)
    assert link.startswith(f"{server.url}/invitation#tgi_")
    assert "There is no password" in user.refused(
        "login", "--invitation", link, stdin=f"{PASSWORD}\n", status=2
    )
    output = user.ok(
        *("login", "--invitation", link, "--name", "Ada", "--project", project),
        stdin=f"{PASSWORD}\n",
    )
    assert "Logged in to" in output
    assert PASSWORD not in output
    who = user.ok("whoami")
    assert f"Ada ({email})" in who
    assert f"developer of project {project}" in who
    user.ok("flag", "create", "banner")
    assert "kill" in user.refused("kill", "checkout")
    entry = user.json("audit", "--limit", "1")[0]
    assert entry["actor"].startswith(f"Ada ({email}) by token tidegate on ")
    assert entry["address"] == "127.0.0.1"
    assert "does not work" in user.refused(
        "login", "--invitation", link, "--name", "Eve", stdin=f"{PASSWORD}\n"
    )


def test_a_person_logs_in_with_email_and_password(
    checkout: Tidegate, user: Tidegate, server: RunningServer, email: str
) -> None:
    link = invited(checkout, email, "--role", "viewer", "--project", project_of(checkout))
    user.ok("login", "--invitation", link, "--name", "Bob", stdin=f"{PASSWORD}\n")
    again = ("login", "again", "--url", server.url, "--email", email)
    refused = user.refused(*again, stdin="not the password at all\n")
    assert "do not fit" in refused
    assert "from" not in refused, "there is no token to name"
    user.ok(*again, "--expires-in", "1h", stdin=f"{PASSWORD}\n")
    assert email in user.ok("whoami")
    assert "Name the server" in user.refused("login", "--email", email, status=2)


def test_a_second_factor_is_asked_for(
    checkout: Tidegate, user: Tidegate, server: RunningServer, email: str
) -> None:
    import urllib3

    link = invited(checkout, email, "--role", "viewer", "--project", project_of(checkout))
    http = urllib3.PoolManager()

    def post(path: str, body: dict[str, str], headers: dict[str, str]) -> urllib3.BaseHTTPResponse:
        return http.request("POST", f"{server.url}/api/v1/{path}", json=body, headers=headers)

    accepted = post(
        "invitations/accept", {"invitation": link, "name": "Bob", "password": PASSWORD}, {}
    )
    session = {
        "Cookie": accepted.headers["Set-Cookie"].partition(";")[0],
        "Tidegate-CSRF": accepted.json()["csrf_token"],
    }
    secret = post("me/second-factor", {"password": PASSWORD}, session).json()["secret"]
    code = pyotp.TOTP(secret).now()
    codes = post("me/second-factor/confirm", {"code": code}, session).json()["recovery_codes"]
    login = ("login", "--url", server.url, "--email", email)
    assert "do not fit" in user.refused(*login, stdin=f"{PASSWORD}\n{code}\n")
    user.ok(*login, stdin=f"{PASSWORD}\n{codes[0]}\n")
    assert checkout.json("person", "show", email)["has_second_factor"] is True
    assert "password alone" in checkout.ok("person", "reset-second-factor", email, "--yes")
    user.ok(*login, stdin=f"{PASSWORD}\n")


def test_people_are_listed_changed_and_deleted(checkout: Tidegate, email: str) -> None:
    project = project_of(checkout)
    invited(checkout, email, "--role", "viewer", "--project", project, "--name", "Ada")
    assert "is there already" in checkout.refused(
        "person", "invite", email, "--role", "admin", status=2
    )
    assert "/sign-in/link#" in invited(checkout, email, "--signs-in-only", "--expires-in", "1h")
    assert "/invitation#" in invited(checkout, email)
    listed = checkout.ok("person", "list")
    assert email in listed
    assert "no password" in listed
    grant = ("--role", "responder", "--project", project, "-e", "production")
    assert "revision 2" in checkout.ok("person", "grant", email, *grant)
    shown = checkout.ok("person", "show", email)
    assert f"responder of production (project {project})" in shown
    checkout.ok("person", "withdraw", email, *grant)
    assert "no grant" in checkout.refused("person", "withdraw", email, *grant, status=2)
    checkout.ok("person", "edit", email, "--deactivate", "--name", "Ada L.")
    assert "not active" in checkout.ok("person", "show", email)
    assert "not active" in checkout.refused("person", "invite", email)
    assert "name" in checkout.ok("person", "diff", email, "1")
    checkout.ok("person", "restore", email, "1")
    assert checkout.json("person", "show", email)["name"] == "Ada"
    assert checkout.ok("person", "delete", email, "--yes").startswith(f"Person {email} deleted")
    assert "Nobody has the email" in checkout.refused("person", "show", email, status=2)


def test_groups_and_roles_give_permissions(checkout: Tidegate, user: Tidegate, email: str) -> None:
    project, key = project_of(checkout), uuid4().hex[:8]
    checkout.ok("role", "create", f"r-{key}", "--permission", "read", "--permission", "kill")
    checkout.ok("group", "create", f"g-{key}", "--name", "On call")
    checkout.ok("group", "grant", f"g-{key}", "--role", f"r-{key}", "--project", project)
    link = invited(checkout, email, "--group", f"g-{key}")
    user.ok(
        *("login", "--invitation", link, "--name", "Cy", "--project", project),
        stdin=f"{PASSWORD}\n",
    )
    user.ok("kill", "checkout", "--reason", "test", "--wait", "0s")
    assert f"g-{key}" in user.ok("whoami")
    assert "used by" in checkout.refused("role", "delete", f"r-{key}", "--yes")
    assert "used by" in checkout.refused("group", "delete", f"g-{key}", "--yes")
    checkout.ok("role", "edit", f"r-{key}", "--permission", "read")
    kill = ("kill", "checkout", "--reason", "test", "--wait", "0s")
    wait_until("the role to change", lambda: user.run(*kill).status == 3)
    assert "permission kill" in user.refused(*kill)
    assert checkout.json("role", "show", f"r-{key}")["permissions"] == ["read"]
    for name in ("role", "group"):
        assert key in checkout.ok(name, "list")
        assert "revision" in checkout.ok(name, "history", f"{name[0]}-{key}")


def test_sessions_are_listed_and_ended(
    checkout: Tidegate, server: RunningServer, email: str
) -> None:
    import urllib3

    link = invited(checkout, email, "--role", "viewer", "--project", project_of(checkout))
    body = {"invitation": link, "name": "Bob", "password": PASSWORD}
    http = urllib3.PoolManager(headers={"User-Agent": "a browser"})
    http.request("POST", f"{server.url}/api/v1/invitations/accept", json=body)
    assert "a browser" in checkout.ok("session", "list", "--person", email)
    [session] = json.loads(checkout.ok("session", "list", "--person", email, "--output", "json"))
    assert email in [each["email"] for each in checkout.json("session", "list", "--everyone")]
    revoke = ("session", "revoke", "--person", email, "--yes")
    assert "ended" in checkout.ok(*revoke, session["id"])
    assert "no session" in checkout.refused(*revoke, session["id"])
    assert "0 sessions ended" in checkout.ok(*revoke, "--all")
    assert "Give the ID" in checkout.refused(*revoke, status=2)
    assert "belongs to a program" in checkout.refused("session", "list")


def test_a_token_of_a_program_says_who_it_is(admin: Tidegate) -> None:
    assert "admin of the whole server" in admin.ok("whoami")


def test_the_log_of_a_server_has_no_secret(
    checkout: Tidegate, user: Tidegate, server: RunningServer, email: str, tmp_path: Path
) -> None:
    link = invited(checkout, email, "--role", "viewer", "--project", project_of(checkout))
    user.ok("login", "--invitation", link, "--name", "Bob", stdin=f"{PASSWORD}\n")
    wrong = "one quite wrong password"
    user.refused("login", "--url", server.url, "--email", email, stdin=f"{wrong}\n")
    saved = json.loads((tmp_path / "own.json").read_text())["contexts"]["default"]["token"]
    log = (server.data_dir.parent / "server.log").read_text()
    assert "sign_in_refused" in log
    assert "/api/v1/invitations/accept" in log
    for secret in (PASSWORD, wrong, link.rpartition("_")[2], saved.rpartition("_")[2]):
        assert secret not in log
    assert "tidegate-http=" not in log
