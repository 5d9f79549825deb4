"""The settings of the HTTP API."""

from __future__ import annotations

from dataclasses import dataclass

from tidegate_server.domain.network_addresses import PUBLIC_ONLY, AllowedNetworks, IPNetwork
from tidegate_server.web.trusted_proxies import LOOPBACK

MEGABYTE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ApiSettings:
    """Settings of one API process.

    Attributes:
        secret_key: the key of the tokens' digests; the same in every server process.
        keep_alive_seconds: the time between two comments on an idle stream, which keep proxies
            from closing it.
        token_recheck_seconds: the time between two checks of a stream's token.
        token_poll_seconds: the time between two looks whether a token changed; a deleted token
            may work that long. 0: every request looks.
        stream_credential_seconds: how long the URL of a stream of change events is valid at
            least; it is valid for up to twice as long.
        session_seconds: how long a person stays signed in at most.
        password_sign_in: whether people sign in with passwords; otherwise only with identity
            providers, except the first person.
        session_idle_seconds: how long a session may be unused.
        origins_cache_seconds: how long the allowed origins are cached.
        body_limit: the largest request body, in bytes.
        report_limit: the largest report of an SDK instance, in bytes.
        reports_per_minute: how many reports each token may send to this process.
        webhook_networks: where webhooks may be.
        identity_provider_networks: where identity providers may be.
        trusted_proxies: the addresses of proxies whose forwarded headers count.
        public_url: where people open the dashboard, without a final slash; empty: not known.
        sends_mail: whether webhooks may be addresses of mail.
    """

    secret_key: bytes
    keep_alive_seconds: float = 15.0
    token_recheck_seconds: float = 60.0
    token_poll_seconds: float = 1.0
    stream_credential_seconds: int = 900
    session_seconds: float = 7 * 24 * 3600.0
    password_sign_in: bool = True
    session_idle_seconds: float = 12 * 3600.0
    origins_cache_seconds: float = 2.0
    body_limit: int = MEGABYTE
    report_limit: int = 4 * MEGABYTE
    reports_per_minute: int = 100_000
    webhook_networks: AllowedNetworks = PUBLIC_ONLY
    identity_provider_networks: AllowedNetworks = PUBLIC_ONLY
    trusted_proxies: tuple[IPNetwork, ...] = LOOPBACK
    public_url: str = ""
    sends_mail: bool = False
