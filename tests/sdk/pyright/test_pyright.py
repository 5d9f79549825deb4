"""The SDK's types as pyright sees them: in strict mode, and from an application's side."""

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

NOT_OURS = {
    # The OpenFeature SDK is a namespace package: pyright finds the mark that it is typed in the
    # folder, and not for the packages in it, so the provider's base is unknown to this report.
    "tidegate.integrations.openfeature.TidegateProvider",
}


def pyright(*arguments: str, **variables: str) -> Any:
    """What pyright reports; it looks for installed libraries where this Python does."""
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
    # An editable installation is found by its hook, which pyright does not run: hence the path.
    report = pyright("--verifytypes", "tidegate", "--ignoreexternal", PYTHONPATH=str(SOURCES))
    symbols = report["typeCompleteness"]["symbols"]
    assert "tidegate.client.Client.boolean" in {each["name"] for each in symbols}
    unknown = {each["name"] for each in symbols if not each["isTypeKnown"]}
    assert unknown <= NOT_OURS
