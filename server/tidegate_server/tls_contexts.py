"""TLS settings of connections to other servers, made once and used again.

To make one reads all authorities of the machine, which takes some 50 ms of CPU. Files that are
replaced on disk are noticed at the next connection. Nothing is locked here, so two threads may each
make one. A forked child makes its own: OpenSSL's locks in those before may be locked for ever.
"""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from typing import TypeAlias

import structlog

log = structlog.get_logger("tidegate.tls")

Fingerprint: TypeAlias = tuple[tuple[int, int, int] | None, ...]

FIX = "replace the files of the options ca, cert and key of TIDEGATE_STORE_URL by ones that fit"

_contexts: dict[tuple[object, ...], tuple[Fingerprint, ssl.SSLContext]] = {}


def tls_context(
    authorities: str | None = None, certificate: str | None = None, key: str | None = None
) -> ssl.SSLContext:
    """Return the context of a client that checks certificates and host names.

    A context whose files are as they were is the same as before. If files were replaced and cannot
    be used, such as a certificate whose key is not there yet, the context before goes on, with a
    warning.

    Args:
        authorities: a file of authorities to trust, besides those of the machine.
        certificate: a file of the client's own certificate.
        key: the file of its key.

    Raises:
        OSError: a file cannot be read, or has no certificate or key; nothing was read before.
    """
    # gevent replaces the class, and a context that was made before is of no use to it.
    name = (os.getpid(), ssl.SSLContext, authorities, certificate, key)
    machine = ssl.get_default_verify_paths()
    files = (machine.cafile, machine.capath, authorities, certificate, key)
    fingerprint = tuple(_state(each) for each in files)
    before = _contexts.get(name)
    if before is not None and before[0] == fingerprint:
        return before[1]
    try:
        context = _read(authorities, certificate, key)
    except OSError as error:
        if before is None:
            raise
        log.warning("tls_files_refused", problem=error.strerror or str(error), fix=FIX)
        return before[1]
    _contexts[name] = (fingerprint, context)
    return context


def _read(authorities: str | None, certificate: str | None, key: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if authorities is not None:
        context.load_verify_locations(cafile=authorities)
    if certificate is not None:
        context.load_cert_chain(certificate, key)
    return context


def _state(path: str | None) -> tuple[int, int, int] | None:
    try:
        status = None if path is None else Path(path).stat()
    except OSError:
        return None
    return status and (status.st_ino, status.st_size, status.st_mtime_ns)
