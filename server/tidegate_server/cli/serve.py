"""`tidegate serve` and `tidegate policy-job`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from tidegate_server.processes.settings import (
    LOG_FORMATS,
    LOG_LEVELS,
    ServeSettings,
    check_environment,
    checked_key,
    checked_token,
    prometheus_address,
)

LOG_OPTIONS = (
    click.option(
        "--log-level",
        envvar="TIDEGATE_LOG_LEVEL",
        show_envvar=True,
        show_default=True,
        default="info",
        type=click.Choice(LOG_LEVELS, case_sensitive=False),
        help="How much to log, to standard error.",
    ),
    click.option(
        "--log-format",
        envvar="TIDEGATE_LOG_FORMAT",
        show_envvar=True,
        show_default=True,
        default="console",
        type=click.Choice(LOG_FORMATS, case_sensitive=False),
        help="Logs for people, or one JSON object a line.",
    ),
)


PROMETHEUS_OPTIONS = (
    click.option(
        "--prometheus-url",
        envvar="TIDEGATE_PROMETHEUS_URL",
        show_envvar=True,
        default="",
        help="The Prometheus that checks with metric: prometheus ask, http://host:9090.",
    ),
    click.option(
        "--prometheus-token",
        envvar="TIDEGATE_PROMETHEUS_TOKEN",
        show_envvar=True,
        default="",
        help="A bearer token for it.",
    ),
)


@click.command()
@click.option(
    "--host", envvar="TIDEGATE_HOST", show_envvar=True, show_default=True, default="127.0.0.1",
    help="Address to listen on; 0.0.0.0 for every one of this machine.",
)  # fmt: skip
@click.option(
    "--port", envvar="TIDEGATE_PORT", show_envvar=True, show_default=True, default=8080,
    type=click.IntRange(1, 65535), help="Port to listen on.",
)  # fmt: skip
@click.option(
    "--workers", envvar="TIDEGATE_WORKERS", show_envvar=True, show_default=True, default=2,
    type=click.IntRange(1, 64), help="Web processes; each holds thousands of streams.",
)  # fmt: skip
@click.option(
    "--data-dir", envvar="TIDEGATE_DATA_DIR", show_envvar=True, show_default=True,
    default="./tidegate-data", type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the embedded store and of the secret key.",
)  # fmt: skip
@click.option(
    "--store-url", envvar="TIDEGATE_STORE_URL", show_envvar=True,
    help="A Valkey or Redis (7.2 or later, append-only file on) instead of the embedded "
    "one: redis://host:6379/0, rediss://…, unix:///path.",
)  # fmt: skip
@click.option(
    "--bootstrap-token", envvar="TIDEGATE_BOOTSTRAP_TOKEN", show_envvar=True, default="",
    help="The first admin token, for automation. Without it one is made and printed once.",
)  # fmt: skip
@click.option(
    "--secret-key", envvar="TIDEGATE_SECRET_KEY", show_envvar=True,
    help="Key of the tokens' digests, at least 16 characters, the same for all servers of one "
    "store. Without it one is kept in the data folder.",
)  # fmt: skip
@PROMETHEUS_OPTIONS[0]
@PROMETHEUS_OPTIONS[1]
@LOG_OPTIONS[0]
@LOG_OPTIONS[1]
def serve(
    host: str,
    port: int,
    workers: int,
    data_dir: Path,
    store_url: str | None,
    bootstrap_token: str,
    secret_key: str | None,
    prometheus_url: str,
    prometheus_token: str,
    log_level: str,
    log_format: str,
) -> None:
    """Run the flag server: embedded store, web processes and policy job.

    Every option can be given by its environment variable. The first start prints an admin
    token, once. SIGTERM or Ctrl-C stops everything.
    """
    from tidegate_server.processes import logging_setup
    from tidegate_server.processes.supervisor import Supervisor

    check_environment(os.environ)
    settings = ServeSettings(
        host=host,
        port=port,
        workers=workers,
        data_dir=data_dir,
        store_url=store_url or None,
        bootstrap_token=bootstrap_token,
        secret_key=secret_key,
        log_level=log_level.lower(),
        log_format=log_format.lower(),
        prometheus_url=prometheus_address(prometheus_url),
        prometheus_token=checked_token(prometheus_token),
    )
    logging_setup.configure(settings.log_level, settings.log_format)
    Supervisor(settings, click.echo).run()


@click.command("policy-job")
@click.option(
    "--store-url", envvar="TIDEGATE_STORE_URL", show_envvar=True, required=True,
    help="The store that the servers use.",
)  # fmt: skip
@click.option(
    "--secret-key", envvar="TIDEGATE_SECRET_KEY", show_envvar=True, required=True,
    help="The servers' secret key, which requests to webhooks are signed with.",
)  # fmt: skip
@PROMETHEUS_OPTIONS[0]
@PROMETHEUS_OPTIONS[1]
@LOG_OPTIONS[0]
@LOG_OPTIONS[1]
def policy_job(
    store_url: str,
    secret_key: str,
    prometheus_url: str,
    prometheus_token: str,
    log_level: str,
    log_format: str,
) -> None:
    """Run the policy job alone, beside servers that share a store.

    Several may run: one of them leads, the others wait to take its place.
    """
    from tidegate_server.processes import logging_setup, policy_job_process

    check_environment(os.environ)
    logging_setup.configure(log_level.lower(), log_format.lower())
    policy_job_process.run(
        store_url,
        checked_key(secret_key),
        prometheus_address(prometheus_url),
        checked_token(prometheus_token),
    )
