"""The code in docs/openfeature.md works as written."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.node import install, node
from tests.ofrep_clients.browser import PATIENCE_MS, browser, bundle, pages
from tests.ofrep_clients.node import FOLDER
from tests.ofrep_clients.server import Shop
from tests.waiting import until

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "openfeature.md").read_text()
BLOCK = re.compile(r"^```(\w+)\n(?:(?:#|//) (\S+\.\w+)\n)?(.*?)^```", re.MULTILINE | re.DOTALL)
NAMED = {name: code for _, name, code in BLOCK.findall(PAGE) if name}
REQUESTS = [code for kind, _, code in BLOCK.findall(PAGE) if kind == "sh" and "curl" in code]


@pytest.fixture
def open_shop(shop: Shop) -> Shop:
    """Return a shop with the documentation's flag, switched on."""
    shop.add({"key": "fast-checkout", "type": "boolean", "client_side": True})
    shop.serve("fast-checkout", "on")
    return shop


def run(shop: Shop, *command: str, folder: Path, role: str = "sdk") -> str:
    variables = {"TIDEGATE_URL": shop.server.url, "TIDEGATE_TOKEN": shop.token(role)}
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **variables}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_snippet_has_a_test() -> None:
    assert set(NAMED) == {"remote.py", "remote.mjs", "page.js"}
    assert len(REQUESTS) == 2


def test_the_python_snippet_works(open_shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "remote.py").write_text(NAMED["remote.py"])
    assert run(open_shop, sys.executable, "remote.py", folder=tmp_path) == "True\n"


def test_the_node_snippet_works(open_shop: Shop, tmp_path: Path) -> None:
    program = node()
    (tmp_path / "node_modules").symlink_to(install(FOLDER))
    (tmp_path / "remote.mjs").write_text(NAMED["remote.mjs"])
    assert run(open_shop, program, "remote.mjs", folder=tmp_path) == "true\n"


def test_the_page_snippet_works(open_shop: Shop, tmp_path: Path) -> None:
    code = NAMED["page.js"]
    for placeholder, value in (
        ("https://flags.example", open_shop.server.url),
        ("tg_client_...", open_shop.token("client")),
    ):
        assert placeholder in code
        code = code.replace(placeholder, value)
    (tmp_path / "page.js").write_text(code)
    site = tmp_path / "site"
    bundle(tmp_path / "page.js", site / "bundle.js")
    (site / "index.html").write_text('<body><script type="module" src="bundle.js"></script>')
    with browser() as chromium, pages(site) as origin:
        open_shop.allow(origin)
        page = chromium.new_page()

        def fast() -> bool:
            page.goto(origin)
            page.wait_for_function("'checkout' in document.body.dataset", timeout=PATIENCE_MS)
            return bool(page.evaluate("document.body.dataset.checkout") == "fast")

        until(fast)  # a new origin is allowed within seconds
        open_shop.serve("fast-checkout", "off")
        page.wait_for_function("document.body.dataset.checkout === 'slow'", timeout=PATIENCE_MS)


def test_the_curl_requests_work(open_shop: Shop, tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("no curl")
    evaluate, track = REQUESTS
    quiet = 'curl() { command curl --silent --show-error --fail "$@"; }\n'

    def run_request(request: str) -> Any:
        return json.loads(run(open_shop, "bash", "-c", quiet + request, folder=tmp_path))

    until(lambda: run_request(evaluate)["value"] is True)
    open_shop.serve("fast-checkout", "off")
    open_shop.release(flag="fast-checkout", stages=[{"percentage": 0.001}, {"percentage": 100}])
    until(lambda: run_request(track) == {"counted": ["fast-checkout"]})
