"""Pyright checks the SDK in strict mode, and its types as an application sees them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import tidegate

from tests.node import install, node

FOLDER = Path(__file__).parent
SOURCES = Path(tidegate.__file__).parents[1]

UNKNOWN_BASES = {
    # The OpenFeature SDK is a namespace package: pyright does not find its py.typed, so the type
    # of the provider's base class is unknown here.
    "tidegate.integrations.openfeature.TidegateProvider",
}


def pyright(*arguments: str, **variables: str) -> Any:
    """Return pyright's report; it finds the libraries of this Python."""
    node()
    program = install(FOLDER) / ".bin" / "pyright"
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [str(program), "--outputjson", *arguments],
        cwd=FOLDER,
        env={**os.environ, "PATH": path, **variables},
        capture_output=True,
        text=True,
    )
    assert done.returncode in (0, 1), done.stderr + done.stdout
    return json.loads(done.stdout)


def test_pyright_finds_no_error() -> None:
    report = pyright("--project", ".", "--pythonpath", sys.executable)
    assert report["generalDiagnostics"] == []
    assert report["summary"]["filesAnalyzed"] == len(list(SOURCES.rglob("tidegate/**/*.py")))


def test_an_application_sees_the_type_of_every_public_name() -> None:
    # Pyright does not run the import hook of an editable installation, so it needs the path.
    report = pyright("--verifytypes", "tidegate", "--ignoreexternal", PYTHONPATH=str(SOURCES))
    symbols = report["typeCompleteness"]["symbols"]
    assert "tidegate.client.Client.boolean" in {each["name"] for each in symbols}
    unknown = {each["name"] for each in symbols if not each["isTypeKnown"]}
    assert unknown <= UNKNOWN_BASES
