from __future__ import annotations

import shutil
import subprocess

import pytest
from tidegate_server.webhooks.signing import signature, signing_secret

KEY = b"a secret key for tests only"


def test_a_secret_depends_only_on_the_key_and_the_id() -> None:
    secret = signing_secret(KEY, "one")
    assert secret == signing_secret(KEY, "one")
    assert secret not in (signing_secret(KEY, "two"), signing_secret(b"another", "one"))
    assert "one" not in secret


def test_openssl_computes_the_same_signature() -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    secret, body = signing_secret(KEY, "one"), '{"event":"held","reason":"Zahlung fällt aus"}'
    made = subprocess.run(
        [openssl, "dgst", "-sha256", "-mac", "HMAC", "-macopt", f"key:{secret}", "-r"],
        input=b"1790000000." + body.encode(),
        check=True,
        capture_output=True,
    )
    expected = made.stdout.split()[0].decode()
    assert signature([secret], 1_790_000_000, body.encode()) == f"t=1790000000,v1={expected}"


def test_each_secret_adds_a_signature() -> None:
    both = signature(["new", "old"], 5, b"{}")
    assert both.split(",") == [
        "t=5",
        signature(["new"], 5, b"{}").split(",")[1],
        signature(["old"], 5, b"{}").split(",")[1],
    ]
