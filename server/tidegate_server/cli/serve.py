"""`tidegate serve` and `tidegate policy-job`: run a server, or a policy job alone."""

from __future__ import annotations

import os
from pathlib import Path

import click

from tidegate_server.cli.options import decorated_with
from tidegate_server.processes.settings import (
    DEFAULT_REPORTS_PER_MINUTE,
    DEFAULT_TRUSTED_PROXIES,
    LOG_FORMATS,
    LOG_LEVELS,
    ServeSettings,
    check_environment,
    check_prometheus_token,
    check_prometheus_url,
    check_secret_key,
    check_store_url,
    parse_trusted_proxies,
    parse_webhook_networks,
)

prometheus_options = decorated_with(
    click.option(
        "--prometheus-url", envvar="TIDEGATE_PROMETHEUS_URL", show_envvar=True, default="",
        help="Prometheus server for checks with metric: prometheus, such as http://host:9090.",
    ),
    click.option(
        "--prometheus-token", envvar="TIDEGATE_PROMETHEUS_TOKEN", show_envvar=True, default="",
        help="Bearer token for Prometheus.",
    ),
)  # fmt: skip

webhook_networks_option = click.option(
    "--webhook-networks", envvar="TIDEGATE_WEBHOOK_NETWORKS", show_envvar=True, default="",
    metavar="NETWORKS",
    help="Networks where webhooks may be besides public addresses, such as "
    "10.1.0.0/16,127.0.0.1/32.",
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
@click.option(
    "--store-url", envvar="TIDEGATE_STORE_URL", show_envvar=True,
    help="Valkey or Redis server to use instead of the embedded one (7.2 or later, append-only "
    "file on): redis://host:6379/0, rediss://…, unix:///path.",
)  # fmt: skip
@click.option(
    "--bootstrap-token", envvar="TIDEGATE_BOOTSTRAP_TOKEN", show_envvar=True, default="",
    help="First admin token, for automation. Without it the server creates one and prints it "
    "once.",
)  # fmt: skip
@click.option(
    "--secret-key", envvar="TIDEGATE_SECRET_KEY", show_envvar=True,
    help="Key for the digests of tokens, at least 16 characters, the same for all servers of a "
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
@prometheus_options
@webhook_networks_option
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
    prometheus_url: str,
    prometheus_token: str,
    webhook_networks: str,
    log_level: str,
    log_format: str,
) -> None:
    """Run the flag server.

    It consists of an embedded store, web processes and the policy job. The first start prints
    an admin token, once. SIGTERM or Ctrl-C stops everything.

    You can set every option in an environment variable.
    """
    from tidegate_server.processes import logging_setup
    from tidegate_server.processes.supervisor import Supervisor

    check_environment(os.environ)
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
        prometheus_url=check_prometheus_url(prometheus_url),
        prometheus_token=check_prometheus_token(prometheus_token),
        webhook_networks=parse_webhook_networks(webhook_networks),
    )
    logging_setup.configure(settings.log_level, settings.log_format)
    Supervisor(settings, click.echo).run()


@click.command("policy-job")
@click.option(
    "--store-url", envvar="TIDEGATE_STORE_URL", show_envvar=True, required=True,
    help="Store that the servers use.",
)  # fmt: skip
@click.option(
    "--secret-key", envvar="TIDEGATE_SECRET_KEY", show_envvar=True, required=True,
    help="Secret key of the servers, which signs requests to webhooks.",
)  # fmt: skip
@prometheus_options
@webhook_networks_option
@log_options
def policy_job(
    store_url: str,
    secret_key: str,
    prometheus_url: str,
    prometheus_token: str,
    webhook_networks: str,
    log_level: str,
    log_format: str,
) -> None:
    """Run the policy job alone, for servers that share a store.

    You can run several: one is active, the others take over if it fails.
    """
    from tidegate_server.processes import logging_setup, policy_job_process

    check_environment(os.environ)
    logging_setup.configure(log_level.lower(), log_format.lower())
    policy_job_process.run(
        check_store_url(store_url),
        check_secret_key(secret_key),
        check_prometheus_url(prometheus_url),
        check_prometheus_token(prometheus_token),
        parse_webhook_networks(webhook_networks),
    )
