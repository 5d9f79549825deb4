"""`tidegate person`, `group` and `role`: who may do what."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

import click

from tidegate_server.cli.api_client import ApiClient, Json
from tidegate_server.cli.formatting import instant, last_change
from tidegate_server.cli.history import add_history_commands
from tidegate_server.cli.options import (
    Command,
    Decorator,
    confirm,
    decorated_with,
    description_option,
    name_option,
    output_option,
    reason_option,
    server_options,
    yes_option,
)
from tidegate_server.cli.output import JSON, Columns, print_json, print_stderr, print_text
from tidegate_server.cli.resource_commands import (
    Facts,
    Resource,
    create_command,
    delete_command,
    edit,
    edit_command,
    list_command,
    show_command,
)
from tidegate_server.cli.token import PERMISSIONS
from tidegate_server.errors import StartupRefused


def person_path(client: ApiClient, *parts: str) -> str:
    """Return a path of the API in which a person may be named by their email.

    Raises:
        StartupRefused: nobody has the email.
    """
    plural, *rest = parts
    if rest and "@" in rest[0]:
        rest[0] = person_id(client, rest[0])
    return client.server_path(plural, *rest)


def person_id(client: ApiClient, email: str) -> str:
    """Return the id of the person with an email, or the id itself.

    Raises:
        StartupRefused: nobody has the email.
    """
    if "@" not in email:
        return email
    found = _find(client, email)
    if found is None:
        raise StartupRefused(
            f"Nobody has the email {email}; `tidegate person list` shows everybody."
        )
    return str(found["id"])


def _find(client: ApiClient, email: str) -> Json | None:
    people = client.list(client.server_path("people")).items
    return next((each for each in people if each["email"] == email.strip().lower()), None)


PERSON = Resource(
    name="person",
    plural="people",
    path_prefix=person_path,
    options=server_options,
    key="EMAIL",
    read_only=("has_password", "has_second_factor", "manageable", "provided", "identities"),
    place="",
)
GROUP = Resource(
    name="group",
    plural="groups",
    path_prefix=ApiClient.server_path,
    options=server_options,
    read_only=("manageable",),
    place="",
)
ROLE = Resource(
    name="role",
    plural="roles",
    path_prefix=ApiClient.server_path,
    options=server_options,
    place="",
)


def grant_text(grant: Json) -> str:
    """``developer of production (project shop)``: a role and its place."""
    project, environment = grant["project"], grant["environment"]
    if project is None:
        return f"{grant['role']} of the whole server"
    if environment is None:
        return f"{grant['role']} of project {project}"
    return f"{grant['role']} of {environment} (project {project})"


def _grants(document: Json) -> str:
    return ", ".join(map(grant_text, document["grants"]))


def _state(person: Json) -> str:
    if not person["active"]:
        return "not active"
    ways = [urlsplit(each["issuer"]).netloc for each in person["identities"]]
    if person["has_password"]:
        ways.append("password and one-time codes" if person["has_second_factor"] else "password")
    return ", ".join(ways) or "no password"


PERSON_COLUMNS: Columns = {
    "email": "email",
    "name": "name",
    "signs in with": _state,
    "grants": _grants,
    "groups": lambda each: ", ".join(each["groups"]),
    "id": "id",
}
GROUP_COLUMNS: Columns = {"group": "key", "name": "name", "grants": _grants}
ROLE_COLUMNS: Columns = {
    "role": "key",
    "name": "name",
    "permissions": lambda each: ", ".join(each["permissions"]),
}


def _person_facts(_: ApiClient, person: Json) -> Facts:
    return (
        ("email", person["email"]),
        ("name", person["name"]),
        ("id", person["id"]),
        ("signs in with", _state(person)),
        *(("grant", grant_text(each)) for each in person["grants"]),
        ("groups", ", ".join(person["groups"])),
        *(
            (f"groups at {each['provider']}", ", ".join(each["groups"]) or "none that count")
            for each in person["provided"]
        ),
        *(
            ("identity", f"{each['id']}: {each['subject']} at {each['issuer']}")
            for each in person["identities"]
        ),
        ("last change", last_change(person)),
    )


def _group_facts(_: ApiClient, group: Json) -> Facts:
    return (
        ("group", group["key"]),
        ("name", group["name"]),
        ("description", group["description"]),
        *(("grant", grant_text(each)) for each in group["grants"]),
        ("last change", last_change(group)),
    )


def _role_facts(_: ApiClient, role: Json) -> Facts:
    return (
        ("role", role["key"]),
        ("name", role["name"]),
        ("description", role["description"]),
        ("permissions", ", ".join(role["permissions"])),
        ("last change", last_change(role)),
    )


def grant_options(*, required: bool) -> Decorator:
    """Return the options that name a role and its place."""
    return decorated_with(
        click.option(
            "--role", metavar="ROLE", required=required,
            help="admin, release_manager, developer, responder, viewer, or a custom role.",
        ),
        click.option("--project", metavar="KEY", help="Only in this project."),
        click.option(
            "--environment", "-e", metavar="KEY", help="Only in this environment of the project."
        ),
    )  # fmt: skip


def _grant(role: str, project: str | None, environment: str | None) -> Json:
    return {"role": role, "project": project, "environment": environment}


def _with_grant(grant: Json) -> Callable[[Json], Json]:
    return lambda document: {
        **document,
        "grants": [*(each for each in document["grants"] if each != grant), grant],
    }


def _without_grant(grant: Json) -> Callable[[Json], Json]:
    def changed(document: Json) -> Json:
        left = [each for each in document["grants"] if each != grant]
        if len(left) == len(document["grants"]):
            raise StartupRefused(f"There is no grant {grant_text(grant)} to withdraw.")
        return {**document, "grants": left}

    return changed


def _grant_command(
    resource: Resource, name: str, help: str, change: Callable[[Json], Callable[[Json], Json]]
) -> click.Command:
    @click.command(name, help=help)
    @click.argument("key", metavar=resource.key)
    @decorated_with(grant_options(required=True), reason_option, output_option, resource.options)
    def command(
        client: ApiClient,
        key: str,
        role: str,
        project: str | None,
        environment: str | None,
        reason: str,
        output: str,
    ) -> None:
        grant = _grant(role, project, environment)
        edit(resource, client, key, change(grant), reason, output)

    return command


@click.group()
def person() -> None:
    """Manage people: who may sign in, and what they may do."""


@click.group()
def group() -> None:
    """Manage groups: people who may do the same things."""


@click.group()
def role() -> None:
    """Manage custom roles: named sets of permissions."""


person.add_command(
    list_command(
        PERSON, "List people.", PERSON_COLUMNS, "Invite one with `tidegate person invite EMAIL`."
    )
)
person.add_command(show_command(PERSON, "Show a person.", _person_facts))
person.add_command(
    edit_command(
        PERSON,
        "Edit a person. Somebody who is deactivated is signed out within two seconds.",
        click.option("--email", metavar="EMAIL", help="New email address."),
        name_option,
        click.option(
            "--activate/--deactivate", "active", default=None, help="Whether they may sign in."
        ),
        click.option(
            "--group", "groups", metavar="KEY", multiple=True,
            help="A group; may be repeated. These replace the present ones.",
        ),
    )
)  # fmt: skip
person.add_command(_grant_command(PERSON, "grant", "Give a person a role in a place.", _with_grant))
person.add_command(_grant_command(PERSON, "withdraw", "Take a role from a person.", _without_grant))
person.add_command(
    delete_command(
        PERSON,
        "Delete a person, and their own tokens with them.",
        label=lambda each: str(each["email"]),
    )
)
add_history_commands(person, PERSON.name, PERSON.path, server_options, "EMAIL")


@person.command()
@click.argument("email")
@grant_options(required=False)
@click.option("--group", "groups", metavar="KEY", multiple=True, help="A group; repeatable.")
@name_option
@click.option(
    "--expires-in", metavar="TIME",
    help="How long the link works; by default 7d, and 15m if it only signs in.",
)  # fmt: skip
@click.option(
    "--signs-in-only", is_flag=True,
    help="The link signs in and sets no password; only for somebody who cannot sign in yet.",
)  # fmt: skip
@reason_option
@output_option
@server_options
def invite(
    client: ApiClient,
    email: str,
    role: str | None,
    project: str | None,
    environment: str | None,
    groups: tuple[str, ...],
    name: str | None,
    expires_in: str | None,
    signs_in_only: bool,
    reason: str,
    output: str,
) -> None:
    """Invite a person, and print a link with which they set a password.

    The link works once; it is the only line on standard output. For somebody who is there already,
    it replaces a password that was lost: give no role then.
    """
    found = _find(client, email)
    given = role or groups
    if found is not None and given:
        raise click.UsageError(f"{email} is there already; use `tidegate person grant`.")
    if found is None:
        grants = [_grant(role, project, environment)] if role else []
        body = {"email": email, "name": name or "", "grants": grants, "groups": list(groups)}
        found = client.post(client.server_path("people"), body, reason)
    path = client.server_path("people", found["id"], "invitation")
    wanted: Json = {"signs_in_only": signs_in_only}
    if expires_in is not None:
        wanted["expires_in"] = expires_in
    invited = client.post(path, wanted, reason)
    if output == JSON:
        return print_json(invited)
    print_stderr(
        f"Send this link to {found['email']} only. It works once, until "
        f"{instant(invited['expires_at'])}:"
    )
    return print_text(invited["link"])


@person.command("reset-second-factor")
@click.argument("email")
@reason_option
@yes_option
@server_options
def reset_second_factor(client: ApiClient, email: str, reason: str, yes: bool) -> None:
    """Remove the second factor of a person who has lost it. Their sessions end."""
    confirm(f"Remove the second factor of {email}?", yes)
    client.end(person_path(client, "people", email, "second-factor"), reason)
    print_text(f"{email} signs in with the password alone now.")


@person.command()
@click.argument("email")
@click.argument("identity")
@reason_option
@yes_option
@server_options
def unlink(client: ApiClient, email: str, identity: str, reason: str, yes: bool) -> None:
    """Let IDENTITY sign EMAIL in no more; `tidegate person show` lists them. Sessions end."""
    confirm(f"Let identity {identity} sign {email} in no more?", yes)
    client.end(person_path(client, "people", email, "identities", identity), reason)
    print_text(f"Identity {identity} is nobody's now.")


group.add_command(
    list_command(
        GROUP, "List groups.", GROUP_COLUMNS, "Create one with `tidegate group create KEY`."
    )
)
group.add_command(show_command(GROUP, "Show a group.", _group_facts))
group.add_command(
    create_command(GROUP, "Create a group.", click.argument("key"), name_option, description_option)
)
group.add_command(edit_command(GROUP, "Edit a group.", name_option, description_option))
group.add_command(_grant_command(GROUP, "grant", "Give a group a role in a place.", _with_grant))
group.add_command(_grant_command(GROUP, "withdraw", "Take a role from a group.", _without_grant))
group.add_command(delete_command(GROUP, "Delete a group that has no members."))
add_history_commands(group, GROUP.name, GROUP.path, server_options)


def _permission_option(*, required: bool) -> Callable[[Command], Command]:
    return click.option(
        "--permission", "permissions", type=click.Choice(PERMISSIONS), multiple=True,
        required=required, help="What the role allows; may be repeated.",
    )  # fmt: skip


role.add_command(
    list_command(
        ROLE, "List custom roles.", ROLE_COLUMNS, "Create one with `tidegate role create KEY`."
    )
)
role.add_command(show_command(ROLE, "Show a custom role.", _role_facts))
role.add_command(
    create_command(
        ROLE,
        "Create a role.",
        click.argument("key"),
        _permission_option(required=True),
        name_option,
        description_option,
    )
)
role.add_command(
    edit_command(
        ROLE,
        "Edit a role, for everybody who has it.",
        _permission_option(required=False),
        name_option,
        description_option,
    )
)
role.add_command(delete_command(ROLE, "Delete a role that nobody has."))
add_history_commands(role, ROLE.name, ROLE.path, server_options)
