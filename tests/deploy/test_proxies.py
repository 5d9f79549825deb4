"""The settings for nginx, Caddy and Envoy, used by real ones in front of a real server."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import pytest
import urllib3
from tidegate_server.admin.segments.uploads import MAX_TEXT

from examples.shop.processes import free_port
from tests.cli.conftest import RunningServer
from tests.waiting import until

DEPLOY = Path(__file__).parents[2] / "deploy"
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin"

NGINX = """
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/tidegate.conf;
}}
"""


@dataclass(frozen=True, slots=True)
class Command:
    """How a proxy is started, and the URL where it then is."""

    words: tuple[str, ...]
    url: str
    variables: Mapping[str, str] = field(default_factory=dict)


def nginx(folder: Path, port: int, server: str) -> Command:
    certificate(folder)
    settings = (
        (DEPLOY / "nginx" / "tidegate.conf")
        .read_text()
        .replace("127.0.0.1:8080", server)
        .replace("listen 443", f"listen 127.0.0.1:{port}")
        .replace("flags.example.com", "localhost")
        .replace("/etc/nginx/tidegate", str(folder / "tidegate"))
    )
    (folder / "tidegate.conf").write_text(settings)
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder))
    words = ("nginx", "-e", str(folder / "error.log"), "-c", str(folder / "nginx.conf"))
    return Command(words, f"https://localhost:{port}")


def caddy(folder: Path, port: int, server: str) -> Command:
    """Without TLS, because Caddy would put a certificate of its own into the system's store."""
    url = f"http://localhost:{port}"
    settings = (DEPLOY / "caddy" / "Caddyfile").read_text()
    # Its own interface for administration has a fixed port, and is not needed.
    (folder / "Caddyfile").write_text(settings.replace("{\n", "{\n\tadmin off\n", 1))
    return Command(
        ("caddy", "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"),
        url,
        {
            "TIDEGATE_ADDRESS": url,
            "TIDEGATE_SERVERS": server,
            "XDG_DATA_HOME": str(folder),
            "XDG_CONFIG_HOME": str(folder),
        },
    )


def envoy(folder: Path, port: int, server: str) -> Command:
    certificate(folder)
    host, _, server_port = server.partition(":")
    settings = (
        (DEPLOY / "envoy" / "envoy.yaml")
        .read_text()
        .replace("address: 0.0.0.0, port_value: 443", f"address: 127.0.0.1, port_value: {port}")
        .replace(
            "address: 127.0.0.1, port_value: 8080", f"address: {host}, port_value: {server_port}"
        )
        .replace("/etc/envoy/tidegate", str(folder / "tidegate"))
    )
    (folder / "envoy.yaml").write_text(settings)
    words = ("envoy", "-c", str(folder / "envoy.yaml"), "--log-level", "warn")
    return Command(
        (*words, "--disable-hot-restart", "--concurrency", "1"), f"https://localhost:{port}"
    )


@pytest.mark.parametrize(
    ("file", "limit"),
    [
        ("nginx/tidegate.conf", rf"client_max_body_size {MAX_TEXT >> 20}m;"),
        ("caddy/Caddyfile", rf"max_size {MAX_TEXT >> 20}MiB "),
    ],
)
def test_a_proxy_takes_the_longest_upload_of_keys(file: str, limit: str) -> None:
    assert limit in (DEPLOY / file).read_text()


def certificate(folder: Path) -> None:
    """Make a certificate for localhost, and its key."""
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-keyout", str(folder / "tidegate.key"), "-out", str(folder / "tidegate.crt")),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"),
        ],
        check=True,
        capture_output=True,
    )


@pytest.fixture(scope="module", params=[nginx, caddy, envoy], ids=lambda each: each.__name__)
def proxy(
    request: pytest.FixtureRequest,
    server: RunningServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[str, urllib3.PoolManager]]:
    """The URL of a proxy in front of the server, and a client that trusts it."""
    make: Callable[[Path, int, str], Command] = request.param
    needed = [make.__name__, *(["openssl"] if make is not caddy else [])]
    if missing := [each for each in needed if shutil.which(each, path=PATH) is None]:
        pytest.skip(f"needs {' and '.join(missing)}")
    folder = tmp_path_factory.mktemp(make.__name__)
    command = make(folder, free_port(), server.url.removeprefix("http://"))
    program = shutil.which(command.words[0], path=PATH)
    assert program is not None
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(
            [program, *command.words[1:]],
            env={**os.environ, **command.variables},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    trusted = str(folder / "tidegate.crt") if command.url.startswith("https") else None
    with urllib3.PoolManager(ca_certs=trusted, retries=False, timeout=30) as http:

        def is_ready() -> bool:
            assert process.poll() is None, (folder / "output").read_text()
            try:
                return http.request("GET", f"{command.url}/health/ready").status == 200
            except urllib3.exceptions.HTTPError:
                return False

        try:
            until(is_ready, f"{make.__name__} is ready")
            yield command.url, http
        finally:
            process.terminate()
            process.wait(60)


def test_requests_are_passed_on_and_a_made_up_address_is_not(
    proxy: tuple[str, urllib3.PoolManager], server: RunningServer
) -> None:
    url, http = proxy
    admin = {"Authorization": f"Bearer {server.token}"}
    token = {"name": "here", "role": "reader", "whole_server": True, "networks": ["127.0.0.1/32"]}
    made = http.request("POST", f"{url}/api/v1/tokens", headers=admin, json=token)
    assert made.status == 201, made.data
    forged = {
        "Authorization": f"Bearer {made.json()['secret']}",
        "X-Forwarded-For": "203.0.113.7",
    }
    assert http.request("GET", f"{url}/api/v1/projects", headers=forged).status == 200


def test_a_stream_is_not_buffered(
    proxy: tuple[str, urllib3.PoolManager], server: RunningServer
) -> None:
    url, http = proxy
    admin = {"Authorization": f"Bearer {server.token}"}
    token = {"name": "sdk", "role": "sdk", "project": "default", "environment": "production"}
    made = http.request("POST", f"{url}/api/v1/tokens", headers=admin, json=token)
    stream = http.request(
        "GET",
        f"{url}/sdk/v1/stream",
        headers={"Authorization": f"Bearer {made.json()['secret']}"},
        preload_content=False,
    )
    received = b""
    while b"event: snapshot" not in received:
        received += stream.read1(65_536) or b""
    key = f"through-a-proxy-{uuid4().hex[:8]}"
    flag = {"key": key, "type": "boolean"}
    flags = f"{url}/api/v1/projects/default/flags"
    assert http.request("POST", flags, headers=admin, json=flag).status == 201
    while key.encode() not in received:
        received += stream.read1(65_536) or b""
    stream.close()
