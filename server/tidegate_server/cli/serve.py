"""`tidegate serve` and `tidegate policy-job`: run a server, or a policy job alone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tidegate_server import tracing
from tidegate_server.cli.options import decorated_with
from tidegate_server.cli.secret_options import secret_option
from tidegate_server.processes.mail_settings import TLS, check_mail_server
from tidegate_server.processes.settings import (
    DEFAULT_REPORTS_PER_MINUTE,
    DEFAULT_TRUSTED_PROXIES,
    LOG_FORMATS,
    LOG_LEVELS,
    ServeSettings,
    check_environment,
    check_prometheus_token,
    check_prometheus_url,
    check_public_url,
    check_secret_key,
    check_store_url,
    parse_identity_provider_networks,
    parse_session_time,
    parse_trusted_proxies,
    parse_webhook_networks,
)

if TYPE_CHECKING:
    from tidegate_server.outbound.mail_server import MailServer

prometheus_options = decorated_with(
    click.option(
        "--prometheus-url", envvar="TIDEGATE_PROMETHEUS_URL", show_envvar=True, default="",
        help="Prometheus server for checks with metric: prometheus, such as http://host:9090.",
    ),
    secret_option(
        "--prometheus-token", "TIDEGATE_PROMETHEUS_TOKEN", "Bearer token for Prometheus.",
        default="",
    ),
)  # fmt: skip

webhook_networks_option = click.option(
    "--webhook-networks", envvar="TIDEGATE_WEBHOOK_NETWORKS", show_envvar=True, default="",
    metavar="NETWORKS",
    help="Networks where webhooks may be besides public addresses, such as "
    "10.1.0.0/16,127.0.0.1/32.",
)  # fmt: skip

message_options = decorated_with(
    click.option(
        "--public-url", envvar="TIDEGATE_PUBLIC_URL", show_envvar=True, default="",
        help="Where people open the dashboard, such as https://flags.example.com; messages link "
        "to it.",
    ),
    click.option(
        "--smtp-server", envvar="TIDEGATE_SMTP_SERVER", show_envvar=True, default="",
        metavar="HOST:PORT", help="Mail server for webhooks in the format email.",
    ),
    click.option(
        "--smtp-tls", envvar="TIDEGATE_SMTP_TLS", show_envvar=True, show_default=True,
        default=TLS[0], type=click.Choice(TLS),
        help="How the connection to it is encrypted; off: not at all.",
    ),
    click.option(
        "--smtp-username", envvar="TIDEGATE_SMTP_USERNAME", show_envvar=True, default="",
        help="User of the mail server, if it asks for one.",
    ),
    secret_option(
        "--smtp-password", "TIDEGATE_SMTP_PASSWORD", "Password of that user.", default=""
    ),
    click.option(
        "--smtp-from", envvar="TIDEGATE_SMTP_FROM", show_envvar=True, default="",
        metavar="ADDRESS", help="Address that mail comes from.",
    ),
)  # fmt: skip

log_options = decorated_with(
    click.option(
        "--log-level", envvar="TIDEGATE_LOG_LEVEL", show_envvar=True, show_default=True,
        default="info", type=click.Choice(LOG_LEVELS, case_sensitive=False),
        help="Lowest level to log, to standard error.",
    ),
    click.option(
        "--log-format", envvar="TIDEGATE_LOG_FORMAT", show_envvar=True, show_default=True,
        default="console", type=click.Choice(LOG_FORMATS, case_sensitive=False),
        help="Log format: console for people, json for one object per line.",
    ),
)  # fmt: skip


@click.command()
@click.option(
    "--host", envvar="TIDEGATE_HOST", show_envvar=True, show_default=True, default="127.0.0.1",
    help="Address to listen on; 0.0.0.0 for all addresses of the machine.",
)  # fmt: skip
@click.option(
    "--port", envvar="TIDEGATE_PORT", show_envvar=True, show_default=True, default=8080,
    type=click.IntRange(1, 65535), help="Port to listen on.",
)  # fmt: skip
@click.option(
    "--workers", envvar="TIDEGATE_WORKERS", show_envvar=True, show_default=True, default=2,
    type=click.IntRange(1, 64),
    help="Number of web processes; each serves thousands of streams.",
)  # fmt: skip
@click.option(
    "--data-dir", envvar="TIDEGATE_DATA_DIR", show_envvar=True, show_default=True,
    default="./tidegate-data", type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the embedded store and the secret key.",
)  # fmt: skip
@secret_option(
    "--store-url", "TIDEGATE_STORE_URL",
    "Valkey or Redis server to use instead of the embedded one (7.2 or later, append-only "
    "file on): valkey://host:6379/0, valkeys://… with TLS, unix:///path, "
    "valkey-sentinel://host,host/service, valkey-cluster://host,host.",
)  # fmt: skip
@secret_option(
    "--bootstrap-token", "TIDEGATE_BOOTSTRAP_TOKEN",
    "First admin token, for automation. Without it the server creates one and prints it "
    "once.", default="",
)  # fmt: skip
@secret_option(
    "--secret-key", "TIDEGATE_SECRET_KEY",
    "Key for the digests of tokens, at least 16 characters, the same for all servers of a "
    "store. Without it the server creates one in the data folder.",
)  # fmt: skip
@click.option(
    "--trusted-proxies", envvar="TIDEGATE_TRUSTED_PROXIES", show_envvar=True, show_default=True,
    default=DEFAULT_TRUSTED_PROXIES,
    help="Addresses and networks of proxies, separated by commas. X-Forwarded-For, -Proto and "
    "-Host count only from them.",
)  # fmt: skip
@click.option(
    "--reports-per-minute", envvar="TIDEGATE_REPORTS_PER_MINUTE", show_envvar=True,
    show_default=True, default=DEFAULT_REPORTS_PER_MINUTE, type=click.IntRange(60, 100_000_000),
    help="Reports that one SDK token may send to one web process. A report counts once for every "
    "4 kB.",
)  # fmt: skip
@click.option(
    "--connections-per-address", envvar="TIDEGATE_CONNECTIONS_PER_ADDRESS", show_envvar=True,
    type=click.IntRange(10, 1_000_000),
    help="Connections that one address may have with one web process, proxies excepted. By "
    "default a quarter of what it can hold, at most 3000.",
)  # fmt: skip
@click.option(
    "--session-idle", envvar="TIDEGATE_SESSION_IDLE", show_envvar=True, show_default=True,
    default="12h", metavar="TIME", help="How long the session of a person may be unused.",
)  # fmt: skip
@click.option(
    "--session-limit", envvar="TIDEGATE_SESSION_LIMIT", show_envvar=True, show_default=True,
    default="7d", metavar="TIME", help="How long a person stays signed in at most.",
)  # fmt: skip
@click.option(
    "--password-sign-in", envvar="TIDEGATE_PASSWORD_SIGN_IN", show_envvar=True, show_default=True,
    default="on", type=click.Choice(["on", "off"], case_sensitive=False),
    help="Whether people sign in with passwords; off: only with identity providers.",
)  # fmt: skip
@click.option(
    "--identity-provider-networks", envvar="TIDEGATE_IDENTITY_PROVIDER_NETWORKS",
    show_envvar=True, default="", metavar="NETWORKS",
    help="Networks where identity providers may be besides public addresses.",
)  # fmt: skip
@prometheus_options
@webhook_networks_option
@message_options
@log_options
def serve(
    host: str,
    port: int,
    workers: int,
    data_dir: Path,
    store_url: str | None,
    bootstrap_token: str,
    secret_key: str | None,
    trusted_proxies: str,
    reports_per_minute: int,
    connections_per_address: int | None,
    session_idle: str,
    session_limit: str,
    password_sign_in: str,
    identity_provider_networks: str,
    prometheus_url: str,
    prometheus_token: str,
    webhook_networks: str,
    public_url: str,
    log_level: str,
    log_format: str,
    **smtp: Any,
) -> None:
    """Run the flag server.

    It consists of an embedded store, web processes and the policy job. The first start prints
    an admin token and an invitation for the first admin, once. SIGTERM or Ctrl-C stops everything.

    You can set every option in an environment variable.
    """
    from tidegate_server.processes import logging_setup
    from tidegate_server.processes.supervisor import Supervisor

    check_environment(os.environ)
    tracing.check(os.environ)
    settings = ServeSettings(
        host=host.strip(),
        port=port,
        workers=workers,
        data_dir=data_dir,
        store_url=check_store_url(store_url or "") or None,
        bootstrap_token=bootstrap_token,
        secret_key=secret_key,
        log_level=log_level.lower(),
        log_format=log_format.lower(),
        trusted_proxies=parse_trusted_proxies(trusted_proxies),
        reports_per_minute=reports_per_minute,
        connections_per_address=connections_per_address,
        session_idle_seconds=parse_session_time("TIDEGATE_SESSION_IDLE", session_idle),
        session_seconds=parse_session_time("TIDEGATE_SESSION_LIMIT", session_limit),
        prometheus_url=check_prometheus_url(prometheus_url),
        prometheus_token=check_prometheus_token(prometheus_token),
        webhook_networks=parse_webhook_networks(webhook_networks),
        public_url=check_public_url(public_url),
        mail_server=_mail_server(**smtp),
        identity_provider_networks=parse_identity_provider_networks(identity_provider_networks),
        password_sign_in=password_sign_in.lower() == "on",
    )
    logging_setup.configure(settings.log_level, settings.log_format)
    Supervisor(settings, click.echo).run()


@click.command("policy-job")
@secret_option("--store-url", "TIDEGATE_STORE_URL", "Store that the servers use.", required=True)
@secret_option(
    "--secret-key", "TIDEGATE_SECRET_KEY",
    "Secret key of the servers, which signs requests to webhooks.", required=True,
)  # fmt: skip
@prometheus_options
@webhook_networks_option
@message_options
@log_options
def policy_job(
    store_url: str,
    secret_key: str,
    prometheus_url: str,
    prometheus_token: str,
    webhook_networks: str,
    public_url: str,
    log_level: str,
    log_format: str,
    **smtp: Any,
) -> None:
    """Run the policy job alone, for servers that share a store.

    You can run several: one is active, the others take over if it fails.
    """
    from tidegate_server.policy_job import MessageSettings
    from tidegate_server.processes import logging_setup, policy_job_process

    check_environment(os.environ)
    tracing.check(os.environ)
    settings = (
        check_store_url(store_url),
        check_secret_key(secret_key),
        check_prometheus_url(prometheus_url),
        check_prometheus_token(prometheus_token),
        parse_webhook_networks(webhook_networks),
        MessageSettings(check_public_url(public_url), _mail_server(**smtp)),
    )
    logging_setup.configure(log_level.lower(), log_format.lower())
    policy_job_process.run(*settings)


def _mail_server(
    smtp_server: str, smtp_tls: str, smtp_username: str, smtp_password: str, smtp_from: str
) -> MailServer | None:
    return check_mail_server(smtp_server, smtp_tls, smtp_username, smtp_password, smtp_from)
