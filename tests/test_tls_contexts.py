"""TLS settings are made once, and made again when their files are replaced on disk."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from tidegate_server.tls_contexts import tls_context

from tests.topologies import Certificate, two_certificates


@pytest.fixture
def certificates(tmp_path: Path) -> tuple[Certificate, Certificate]:
    return two_certificates(tmp_path)


def files(certificate: Certificate) -> tuple[str, str, str]:
    return str(certificate.path), str(certificate.path), str(certificate.key)


def test_what_the_same_files_say_is_read_once(
    certificates: tuple[Certificate, Certificate],
) -> None:
    used, other = map(files, certificates)
    assert tls_context(*used) is tls_context(*used)
    assert tls_context(*used) is not tls_context(*other)
    assert tls_context() is tls_context()


def test_files_that_are_replaced_are_read_again_once_they_fit(
    certificates: tuple[Certificate, Certificate],
) -> None:
    used, new = certificates
    before = tls_context(*files(used))
    shutil.move(new.path, used.path)
    with capture_logs() as logs:
        assert tls_context(*files(used)) is before  # the key of the new one is not there yet
    (warning,) = logs
    assert (warning["event"], warning["log_level"]) == ("tls_files_refused", "warning")
    assert "ca, cert and key" in warning["fix"]
    shutil.move(new.key, used.key)
    after = tls_context(*files(used))
    assert after is not before
    assert after is tls_context(*files(used))


def test_authorities_of_the_machine_that_are_replaced_are_read_again(
    certificates: tuple[Certificate, Certificate], monkeypatch: pytest.MonkeyPatch
) -> None:
    used, new = certificates
    monkeypatch.setenv("SSL_CERT_FILE", str(used.path))
    before = tls_context()
    shutil.move(new.path, used.path)
    (now,) = tls_context().get_ca_certs()
    assert before.get_ca_certs() != [now]


def test_a_forked_child_makes_its_own() -> None:
    """A lock of OpenSSL in the parent's, held at the fork, would be locked for ever."""
    context = tls_context()
    pid = os.fork()
    if pid == 0:
        os._exit(1 if tls_context() is context else 0)
    assert os.waitpid(pid, 0)[1] == 0
