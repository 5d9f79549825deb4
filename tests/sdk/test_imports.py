"""What an import of the SDK brings along."""

from __future__ import annotations

import subprocess
import sys


def loaded_after(code: str) -> set[str]:
    program = f"import sys\n{code}\nprint(*sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60
    )
    return set(found.stdout.split())


def test_an_import_alone_brings_nothing_that_works() -> None:
    loaded = loaded_after("import tidegate")
    heavy = {"urllib3", "ssl", "re2", "socket", "json", "hashlib", "asyncio", "email"}
    inner = {f"tidegate.{name}" for name in ("evaluation", "wire", "updates", "transport")}
    assert loaded & (heavy | inner) == set()


def test_a_client_without_a_network_needs_none() -> None:
    loaded = loaded_after(
        "import tidegate\n"
        "tidegate.Client.offline({'schema': 1, 'project': 'p', 'environment': 'e',"
        " 'version': 1, 'flags': {}, 'segments': {}}).boolean('a', False)"
    )
    assert "tidegate.evaluation" in loaded
    assert loaded & {"urllib3", "ssl", "re2", "tidegate.transport"} == set()
