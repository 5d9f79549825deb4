"""`tidegate identity-provider`: with which servers people sign in, by OpenID Connect."""

from __future__ import annotations

from typing import Any

import click

from tidegate_server.cli.api_client import ApiClient, Json
from tidegate_server.cli.exit_codes import NOT_REACHED
from tidegate_server.cli.formatting import last_change
from tidegate_server.cli.history import add_history_commands
from tidegate_server.cli.options import (
    confirm,
    decorated_with,
    name_option,
    output_option,
    reason_option,
    server_options,
    yes_option,
)
from tidegate_server.cli.output import JSON, Columns, print_facts, print_json, print_text
from tidegate_server.cli.person import grant_options, grant_text
from tidegate_server.cli.put_commands import put_command
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
from tidegate_server.cli.sign_in import ask_secret
from tidegate_server.errors import StartupRefused

PROVIDER = Resource(
    name="identity provider",
    plural="identity-providers",
    path_prefix=ApiClient.server_path,
    options=server_options,
    read_only=(
        *("has_client_secret", "redirect_uri"),
        *("post_logout_redirect_uri", "backchannel_logout_uri"),
    ),
    place="",
)

COLUMNS: Columns = {
    "provider": "key",
    "name": "name",
    "issuer": "issuer",
    "enabled": "enabled",
    "creates people": "create_people",
}

SETTINGS = decorated_with(
    name_option,
    click.option(
        "--scope", "scopes", metavar="SCOPE", multiple=True,
        help="A scope to ask for; may be repeated. These replace openid, email and profile.",
    ),
    click.option("--groups-claim", metavar="NAME", help="The claim with a person's groups."),
    click.option(
        "--create-people/--no-create-people", "create_people", default=None,
        help="Whether people are created when they sign in for the first time.",
    ),
    click.option(
        "--email-domain", "email_domains", metavar="DOMAIN", multiple=True,
        help="A domain of the emails of people who may be created, or be known by their email; "
        "may be repeated.",
    ),
    click.option(
        "--require-verified-email/--accept-unverified-email", "require_verified_email",
        default=None,
        help="Whether to create only people whose email the provider has verified.",
    ),
)  # fmt: skip


def _facts(_: ApiClient, provider: Json) -> Facts:
    return (
        ("identity provider", provider["key"]),
        ("name", provider["name"]),
        ("issuer", provider["issuer"]),
        ("client id", provider["client_id"]),
        ("client secret", "kept" if provider["has_client_secret"] else "none"),
        ("enabled", provider["enabled"]),
        ("scopes", " ".join(provider["scopes"])),
        ("groups claim", provider["groups_claim"]),
        *(("group", _mapping_text(each)) for each in provider["group_mappings"]),
        ("creates people", provider["create_people"]),
        ("email domains", ", ".join(provider["email_domains"])),
        ("requires verified email", provider["require_verified_email"]),
        ("redirect URI", provider["redirect_uri"]),
        ("after sign-out", provider["post_logout_redirect_uri"]),
        ("back-channel logout", provider["backchannel_logout_uri"]),
        ("last change", last_change(provider)),
    )


def _mapping_text(mapping: Json) -> str:
    given = [f"group {each}" for each in mapping["groups"]]
    given += map(grant_text, mapping["grants"])
    return f"{mapping['provider_group']}: {', '.join(given)}"


@click.group("identity-provider")
def identity_provider() -> None:
    """Manage identity providers: with which people sign in."""


identity_provider.add_command(
    list_command(
        PROVIDER,
        "List identity providers.",
        COLUMNS,
        "Create one with `tidegate identity-provider create KEY`.",
    )
)
identity_provider.add_command(
    show_command(PROVIDER, "Show an identity provider, and what to register there.", _facts)
)
identity_provider.add_command(
    create_command(
        PROVIDER,
        """Create an identity provider.

        Then give it its secret with `tidegate identity-provider set-secret KEY`.
        """,
        click.argument("key"),
        click.option("--issuer", metavar="URL", required=True, help="The provider's own name."),
        click.option("--client-id", metavar="ID", required=True, help="What it calls this server."),
        SETTINGS,
    )
)
identity_provider.add_command(
    edit_command(
        PROVIDER,
        "Edit an identity provider. It keeps its secret.",
        click.option("--issuer", metavar="URL", help="The provider's own name for itself."),
        click.option("--client-id", metavar="ID", help="What it calls this server."),
        click.option(
            "--enable/--disable", "enabled", default=None,
            help="Whether people sign in with it; disabling it ends its sessions.",
        ),
        SETTINGS,
    )
)  # fmt: skip
identity_provider.add_command(
    put_command(
        PROVIDER,
        """Create or replace an identity provider from a file; it keeps its secret.

        FILE is YAML or JSON, such as `identity-provider show --output json` prints; - is standard
        input.
        """,
    )
)
identity_provider.add_command(
    delete_command(
        PROVIDER,
        "Delete an identity provider. Its sessions end, and its groups give nothing any more.",
    )
)
add_history_commands(identity_provider, PROVIDER.name, PROVIDER.path, server_options)


@identity_provider.command("set-secret")
@click.argument("key")
@reason_option
@server_options
def set_secret(client: ApiClient, key: str, reason: str) -> None:
    """Keep the client secret that the provider gave, read from standard input or asked for."""
    secret = ask_secret("Client secret").strip()
    path = PROVIDER.path(client, key, "client-secret")
    client.put(path, {"client_secret": secret}, None, reason)
    print_text(f"Identity provider {key} has its secret.")


@identity_provider.command("delete-secret")
@click.argument("key")
@reason_option
@yes_option
@server_options
def delete_secret(client: ApiClient, key: str, reason: str, yes: bool) -> None:
    """Forget the client secret."""
    confirm(f"Forget the client secret of identity provider {key}?", yes)
    client.end(PROVIDER.path(client, key, "client-secret"), reason)
    print_text(f"Identity provider {key} has no secret.")


@identity_provider.command()
@click.argument("key")
@output_option
@server_options
def test(client: ApiClient, key: str, output: str) -> None:
    """Ask an identity provider for what it publishes. The client secret is not tried."""
    answer = client.compute(PROVIDER.path(client, key, "test"), {})
    if output == JSON:
        print_json(answer)
    elif answer["works"]:
        print_facts(
            (
                ("people sign in at", answer["authorization_endpoint"]),
                ("keys", answer["keys"]),
                ("signs people out", answer["signs_out"]),
            )
        )
    else:
        print_text(f"People cannot sign in with {key}: {answer['problem']}")
    if not answer["works"]:
        raise click.exceptions.Exit(NOT_REACHED)


def _grants(role: str | None, project: str | None, environment: str | None) -> list[Json]:
    return [{"role": role, "project": project, "environment": environment}] if role else []


@identity_provider.command("map")
@click.argument("key")
@click.argument("provider_group")
@click.option("--group", "groups", metavar="KEY", multiple=True, help="A group; repeatable.")
@grant_options(required=False)
@reason_option
@output_option
@server_options
def map_group(
    client: ApiClient,
    key: str,
    provider_group: str,
    groups: tuple[str, ...],
    role: str | None,
    project: str | None,
    environment: str | None,
    reason: str,
    output: str,
) -> None:
    """Give the members of PROVIDER_GROUP groups and a role, besides what they have by it."""
    if not groups and not role:
        raise click.UsageError("Say what it gives: --group KEY or --role ROLE.")
    grants = _grants(role, project, environment)

    def changed(document: Json) -> Json:
        mappings = document["group_mappings"]
        present: dict[str, Any] = {"provider_group": provider_group, "groups": [], "grants": []}
        present = next((m for m in mappings if m["provider_group"] == provider_group), present)
        more = {
            "provider_group": provider_group,
            "groups": list(dict.fromkeys((*present["groups"], *groups))),
            "grants": [*(each for each in present["grants"] if each not in grants), *grants],
        }
        others = [each for each in mappings if each["provider_group"] != provider_group]
        return {**document, "group_mappings": [*others, more]}

    edit(PROVIDER, client, key, changed, reason, output)


@identity_provider.command("unmap")
@click.argument("key")
@click.argument("provider_group")
@click.option("--group", "groups", metavar="KEY", multiple=True, help="Only this; repeatable.")
@grant_options(required=False)
@reason_option
@output_option
@server_options
def unmap_group(
    client: ApiClient,
    key: str,
    provider_group: str,
    groups: tuple[str, ...],
    role: str | None,
    project: str | None,
    environment: str | None,
    reason: str,
    output: str,
) -> None:
    """Take away what PROVIDER_GROUP gives, within two seconds, from all its members.

    Without --group and --role it takes away everything.
    """
    if role is None and (project or environment):
        raise click.UsageError("Say which role it no longer gives there: --role ROLE.")
    grants = _grants(role, project, environment)

    def changed(document: Json) -> Json:
        mappings = document["group_mappings"]
        present = next((m for m in mappings if m["provider_group"] == provider_group), None)
        if present is None:
            raise StartupRefused(f"There is no mapping of {provider_group!r}.")
        for taken, field in ((list(groups), "groups"), (grants, "grants")):
            if not all(each in present[field] for each in taken):
                raise StartupRefused(f"It does not give that. It gives {_mapping_text(present)}.")
        left = {
            **present,
            "groups": [each for each in present["groups"] if each not in groups],
            "grants": [each for each in present["grants"] if each not in grants],
        }
        some = (groups or grants) and (left["groups"] or left["grants"])
        others = [each for each in mappings if each is not present]
        return {**document, "group_mappings": [*others, left] if some else others}

    edit(PROVIDER, client, key, changed, reason, output)
