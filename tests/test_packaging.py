"""setup.cfg lists the packages by hand. These tests compare the list with the folders."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from configparser import ConfigParser
from fnmatch import fnmatch
from pathlib import Path

from tests.container import copy_context

ROOT = Path(__file__).resolve().parents[1]
SOURCES = {"tidegate": ROOT / "client_sdk", "tidegate_server": ROOT / "server"}
CODE_SUFFIXES = {".py", ".pyc"}


def read_setup() -> ConfigParser:
    parser = ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def nonempty_lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def packages_on_disk() -> dict[str, Path]:
    return {
        ".".join(module.parent.relative_to(source).parts): module.parent
        for top, source in SOURCES.items()
        for module in (source / top).rglob("__init__.py")
    }


def test_setup_lists_every_package() -> None:
    assert nonempty_lines(read_setup()["options"]["packages"]) == sorted(packages_on_disk())


def test_every_module_is_in_a_package() -> None:
    folders = {
        module.parent for top, source in SOURCES.items() for module in (source / top).rglob("*.py")
    }
    assert folders == set(packages_on_disk().values())


def test_every_other_file_of_a_package_is_package_data() -> None:
    declared = {
        package: [
            pattern.strip() for line in nonempty_lines(patterns) for pattern in line.split(",")
        ]
        for package, patterns in read_setup()["options.package_data"].items()
    }
    packages = packages_on_disk()
    undeclared = []
    for top, source in SOURCES.items():
        for file in (source / top).rglob("*"):
            if not file.is_file() or file.suffix in CODE_SUFFIXES:
                continue
            is_declared = any(
                file.is_relative_to(packages[package])
                and fnmatch(str(file.relative_to(packages[package])), pattern)
                for package, patterns in declared.items()
                for pattern in patterns
            )
            if not is_declared:
                undeclared.append(str(file.relative_to(ROOT)))
    assert undeclared == []


def test_a_wheel_contains_the_packages_and_nothing_else(tmp_path: Path) -> None:
    """The wheel is built from the build context of the container image."""
    copy_context(tmp_path / "source")
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check"),
            *("--no-index", "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path, "."),
        ],
        cwd=tmp_path / "source",
        check=True,
    )
    (wheel,) = tmp_path.glob("tidegate-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (entry_points,) = (name for name in names if name.endswith(".dist-info/entry_points.txt"))
        scripts = ConfigParser()
        scripts.read_string(archive.read(entry_points).decode())
        (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        description = archive.read(metadata).decode()
    files = {
        str(file.relative_to(source))
        for top, source in SOURCES.items()
        for file in (source / top).rglob("*")
        if file.is_file() and file.suffix != ".pyc"
    }
    assert {name for name in names if ".dist-info/" not in name} == files
    assert {"tidegate/py.typed", "tidegate_server/store/commit.lua"} <= files
    assert scripts["console_scripts"]["tidegate"] == "tidegate_server.cli:main"
    assert "License-Expression: MIT" in description
    assert "# Tidegate" in description
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
