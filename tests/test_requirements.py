"""The locked requirements agree with setup.cfg, and every one of them has hashes."""

from __future__ import annotations

import re
from configparser import ConfigParser
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
EXTRAS = {"server": ("server",), "test": ("server", "test"), "all": ("server", "test", "bench")}


def setup_requirements(extras: tuple[str, ...]) -> list[Requirement]:
    parser = ConfigParser()
    parser.read(ROOT / "setup.cfg")
    texts = [parser["options"]["install_requires"]]
    texts += [parser["options.extras_require"][extra] for extra in extras]
    return [Requirement(line) for text in texts for line in text.splitlines() if line.strip()]


def entries(name: str) -> list[str]:
    """Return each locked requirement with its hashes, as one line."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    joined = text.replace("\\\n", " ")
    return [line for line in joined.splitlines() if line and not line.startswith("#")]


def locked_versions(name: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for entry in entries(name):
        match = re.match(r"([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==(\S+)", entry)
        assert match is not None, entry
        found[canonicalize_name(match[1])] = match[2]
    return found


@pytest.mark.parametrize("name", EXTRAS)
def test_every_requirement_of_setup_cfg_is_locked_at_a_version_that_it_allows(name: str) -> None:
    locked = locked_versions(name)
    for requirement in setup_requirements(EXTRAS[name]):
        version = locked.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement} is not locked: run scripts/lock"
        assert requirement.specifier.contains(version, prereleases=True), (
            f"{requirement} is locked at {version}: run scripts/lock"
        )


@pytest.mark.parametrize("name", [*EXTRAS, "build"])
def test_every_locked_requirement_has_a_hash_and_no_address(name: str) -> None:
    for entry in entries(name):
        assert "--hash=sha256:" in entry
        assert "://" not in entry
    assert "://" not in (ROOT / "requirements" / f"{name}.txt").read_text()


@pytest.mark.parametrize("name", ["server", "test", "build"])
def test_a_package_has_the_same_version_in_every_file(name: str) -> None:
    every = locked_versions("all")
    for package, version in locked_versions(name).items():
        assert every.get(package, version) == version
