"""setup.cfg lists by hand what an installation contains; here it is held against the folders."""

from __future__ import annotations

from configparser import ConfigParser
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCES = {"tidegate": ROOT / "client_sdk", "tidegate_server": ROOT / "server"}
NOT_SHIPPED = {".py", ".pyc"}


def metadata() -> ConfigParser:
    parser = ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def packages_on_disk() -> dict[str, Path]:
    return {
        ".".join(found.parent.relative_to(source).parts): found.parent
        for top, source in SOURCES.items()
        for found in (source / top).rglob("__init__.py")
    }


def test_the_listed_packages_are_the_folders_with_code() -> None:
    assert lines(metadata()["options"]["packages"]) == sorted(packages_on_disk())


def test_no_code_lies_outside_of_a_package() -> None:
    folders = {
        module.parent for top, source in SOURCES.items() for module in (source / top).rglob("*.py")
    }
    assert folders == set(packages_on_disk().values())


def test_every_other_file_of_a_package_is_package_data() -> None:
    declared = {
        package: [pattern.strip() for line in lines(patterns) for pattern in line.split(",")]
        for package, patterns in metadata()["options.package_data"].items()
    }
    packages = packages_on_disk()
    forgotten = []
    for top, source in SOURCES.items():
        for file in (source / top).rglob("*"):
            if not file.is_file() or file.suffix in NOT_SHIPPED:
                continue
            shipped = any(
                file.is_relative_to(packages[package])
                and fnmatch(str(file.relative_to(packages[package])), pattern)
                for package, patterns in declared.items()
                for pattern in patterns
            )
            if not shipped:
                forgotten.append(str(file.relative_to(ROOT)))
    assert forgotten == []
