"""The container image, tested without a Docker engine: its Dockerfile and its build steps."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.shop.processes import free_port
from tests.container import ROOT, Stage, copy_context, in_build_context, instructions, stages
from tests.waiting import until


@pytest.fixture
def build() -> Stage:
    return stages()[0]


@pytest.fixture
def image() -> Stage:
    return stages()[-1]


def test_both_stages_use_the_same_pinned_slim_image(build: Stage, image: Stage) -> None:
    assert len(stages()) == 2
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-bookworm@sha256:[0-9a-f]{64}", build.base)
    # The virtual environment is copied, so both stages need the same interpreter.
    assert image.base == build.base
    assert (build.name, image.name) == ("build", "")
    (copied,) = image.all("COPY")
    made = re.search(r"python -m venv (\S+)", build.one("RUN").text)
    assert made is not None
    assert copied.arguments == ["--from=build", made[1], made[1]]
    assert image.environment()["PATH"].startswith(f"{made[1]}/bin:")


def test_the_server_runs_as_its_own_user_not_as_root(image: Stage) -> None:
    words = [each.keyword for each in image.instructions]
    user, group = image.one("USER").text.split(":")
    assert int(user) > 0
    assert int(group) > 0
    assert f"--uid {user}" in image.one("RUN").text
    assert f"--gid {group}" in image.one("RUN").text
    assert words.index("USER") < words.index("ENTRYPOINT")
    assert words.index("RUN") < words.index("USER")


def test_the_data_folder_is_a_volume_owned_by_that_user(image: Stage) -> None:
    data = image.one("VOLUME").text
    assert image.environment()["TIDEGATE_DATA_DIR"] == data
    _, add_user, make_folder = (part.split() for part in image.one("RUN").text.split("&&"))
    user = add_user[-1]
    assert make_folder[0] == "install"
    assert {"--directory", f"--owner={user}", "--mode=0700", data} <= set(make_folder)


def test_the_server_listens_on_all_interfaces_and_has_a_health_check(image: Stage) -> None:
    environment = image.environment()
    assert environment["TIDEGATE_HOST"] == "0.0.0.0"
    assert image.one("EXPOSE").text == environment["TIDEGATE_PORT"]
    # The command line in the image uses the server in the same container.
    assert environment["TIDEGATE_URL"] == f"http://127.0.0.1:{environment['TIDEGATE_PORT']}"
    assert "/health/ready" in image.one("HEALTHCHECK").text
    assert "TIDEGATE_PORT" in image.one("HEALTHCHECK").text


def test_the_server_receives_signals(image: Stage) -> None:
    """The entry point is in exec form, so that no shell swallows the signals."""
    assert image.one("ENTRYPOINT").text == '["tidegate", "serve"]'
    assert re.search(r"CMD \[", image.one("HEALTHCHECK").text)
    assert image.all("CMD") == []


def test_the_dockerfile_names_no_registry() -> None:
    for each in instructions():
        if each.keyword == "FROM":
            assert "/" not in each.text.split()[0]
    text = (ROOT / "Dockerfile").read_text()
    assert "://" not in text.replace("http://127.0.0.1:", "")
    assert "syntax=" not in text


def test_every_copied_file_exists_and_is_in_the_build_context(build: Stage) -> None:
    copied = [source for each in build.all("COPY") for source in each.arguments[:-1]]
    for source in copied:
        assert (ROOT / source).exists()
        assert in_build_context(ROOT / source)
    assert {"setup.cfg", "pyproject.toml"} <= set(copied)


def test_nothing_else_is_in_the_build_context() -> None:
    for path in (
        ".git/config",
        ".venv/bin/python",
        "tests/test_container.py",
        "tidegate-data/lock",
    ):
        assert not in_build_context(ROOT / path)
    assert not in_build_context(ROOT / "server/tidegate_server/__pycache__/errors.cpython-313.pyc")
    assert not in_build_context(ROOT / "client_sdk/tidegate.egg-info/PKG-INFO")
    assert in_build_context(ROOT / "server/tidegate_server/store/commit.lua")


class ImageFolders:
    """The image's folders, below a temporary folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("TIDEGATE_", "PYTHON", "VIRTUAL_ENV"))
        }

    def path(self, text: str) -> str:
        """Replace the image's paths in a text of the Dockerfile."""
        for path in ("/opt/tidegate", "/wheels", "/data"):
            text = text.replace(path, f"{self.folder}{path}")
        return text

    def build(self, stage: Stage) -> None:
        """Run the build stage on a copy of the build context, then delete the copy."""
        tools = self.folder / "bin"
        tools.mkdir()
        (tools / "python").symlink_to(Path(sys.executable).resolve())
        (tools / "pip").write_text('#!/bin/sh\nexec python -m pip "$@"\n')
        (tools / "pip").chmod(0o755)
        source = self.folder / "source"
        copy_context(source)
        (self.folder / "opt").mkdir()
        (self.folder / "data").mkdir(mode=0o700)
        subprocess.run(
            ["/bin/sh", "-c", self.path(stage.one("RUN").text)],
            cwd=source,
            env=self.environment | {"PATH": f"{tools}:{os.environ['PATH']}"},
            check=True,
        )
        shutil.rmtree(source)

    def settings(self, stage: Stage, **changed: str) -> dict[str, str]:
        """Return the environment variables of the image's processes."""
        variables = {name: self.path(value) for name, value in stage.environment().items()}
        variables["PATH"] = variables["PATH"].replace("$PATH", os.environ["PATH"])
        return self.environment | variables | changed


@pytest.fixture
def folders() -> Iterator[ImageFolders]:
    with tempfile.TemporaryDirectory(prefix="tg-image-") as folder:
        yield ImageFolders(Path(folder))


@pytest.mark.long
def test_the_build_steps_make_a_server_that_needs_no_repository(
    folders: ImageFolders, build: Stage, image: Stage
) -> None:
    folders.build(build)
    data = folders.folder / "data"
    port = str(free_port())
    settings = folders.settings(image, TIDEGATE_HOST="127.0.0.1", TIDEGATE_PORT=port)
    (healthy,) = re.findall(r"CMD (\[.*\])", image.one("HEALTHCHECK").text)

    def run(command: list[str]) -> subprocess.CompletedProcess[str]:
        program = shutil.which(command[0], path=settings["PATH"])
        assert program is not None
        return subprocess.run(
            [program, *command[1:]], env=settings, cwd=data, check=False, capture_output=True,
            text=True,
        )  # fmt: skip

    where = run(["python", "-c", "import tidegate_server as it; print(it.__file__)"]).stdout
    assert where.startswith(folders.path("/opt/tidegate"))
    assert run(json.loads(healthy)).returncode != 0
    program = shutil.which("tidegate", path=settings["PATH"])
    assert program is not None
    server = subprocess.Popen(
        [program, *image.one("ENTRYPOINT").arguments[1:]],
        cwd=data,
        env=settings,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        until(
            lambda: run(json.loads(healthy)).returncode == 0 or server.poll() is not None,
            "the health check to pass",
        )
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/openapi.json") as response:
            assert response.status == 200
        assert (data / "appendonlydir").is_dir()
    finally:
        server.send_signal(signal.SIGTERM)
        printed, _ = server.communicate(timeout=60)
    assert server.returncode == 0
    assert "Admin token, shown this once: " in printed
