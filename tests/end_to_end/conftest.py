from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.deployment import Deployment


@pytest.fixture
def deployment() -> Iterator[Deployment]:
    folder = Path(tempfile.mkdtemp())  # short, because the path of a Unix socket has a limit
    deployment = Deployment(folder)
    try:
        yield deployment
    finally:
        deployment.close()
        shutil.rmtree(folder, ignore_errors=True)
