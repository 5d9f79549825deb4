"""`tidegate code-refs`: uses of flags in source code."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.cli.calls import Tidegate
from tests.code_refs.trees import git, write

APP = """\
import tidegate

client = tidegate.Client()


def page(user):
    if client.boolean("checkout", False, user):
        return "new"
    return client.string("them", "plain", user)
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A source tree that asks for the flags `checkout` and `them`."""
    return write(tmp_path / "app", {"app.py": APP, "web/a.js": "ask('checkout')\n"})


def test_a_scan_prints_file_line_and_code(checkout: Tidegate, root: Path) -> None:
    done = checkout.run("code-refs", "scan", str(root))
    assert done.status == 0
    assert done.out.splitlines() == [
        'app.py:7: checkout (call)  if client.boolean("checkout", False, user):',
        'app.py:9: them (call)  return client.string("them", "plain", user)',
        "web/a.js:1: checkout (text)  ask('checkout')",
    ]
    assert "3 uses of 2 flags in 2 files (of 2)." in done.err


def test_code_that_asks_for_a_flag_that_does_not_exist_fails_a_pipeline(
    checkout: Tidegate, root: Path
) -> None:
    checkout.ok("flag", "create", "theme")
    error = checkout.refused("code-refs", "scan", str(root), "--fail-on", "unknown", status=5)
    assert (
        "app.py:9: There is no flag 'them', so the code gets its default. Did you mean 'theme'?"
        in error
    )
    found = checkout.json("code-refs", "scan", str(root))
    assert [(each["flag"], each["suggestions"]) for each in found["unknown"]] == [
        ("them", ["theme"])
    ]
    other = checkout.run(
        "code-refs", "scan", str(root), "--flag", "checkout", "--fail-on", "unknown"
    )
    assert (other.status, "them" in other.err) == (0, False)
    checkout.ok("flag", "create", "them")
    checkout.ok("code-refs", "scan", str(root), "--fail-on", "unknown")
    checkout.ok("flag", "archive", "them")
    checkout.ok("code-refs", "scan", str(root), "--fail-on", "unknown")


def test_a_computed_key_fails_a_pipeline_on_request(checkout: Tidegate, root: Path) -> None:
    write(root, {"b.py": 'import tidegate\ntidegate.Client().boolean(f"x-{1}", False)\n'})
    assert "b.py:2: The key is computed" in checkout.run("code-refs", "scan", str(root)).err
    checkout.refused("code-refs", "scan", str(root), "--fail-on", "computed", status=5)


def test_source_is_shown_as_far_as_asked(checkout: Tidegate, root: Path) -> None:
    arguments = ("code-refs", "scan", str(root), "--flag", "checkout", "-o", "json")

    def sources(*more: str) -> list[str]:
        return [each["source"] for each in json.loads(checkout.ok(*arguments, *more))["uses"]]

    assert sources()[1] == "ask('checkout')"
    assert sources("--no-source") == ["", ""]
    assert sources("--context-lines", "1")[0].splitlines() == APP.splitlines()[5:8]


def test_a_scan_needs_no_server(root: Path) -> None:
    nobody = Tidegate({"TIDEGATE_URL": "http://127.0.0.1:9", "TIDEGATE_TOKEN": "x" * 30})
    done = nobody.ok("code-refs", "scan", str(root), "--offline", "--flag", "checkout")
    assert [line.split(":")[0] for line in done.splitlines()] == ["app.py", "web/a.js"]
    nobody.refused("code-refs", "scan", str(root), status=4)
    both = ("code-refs", "scan", str(root), "--offline", "--fail-on", "unknown")
    assert "leave out --offline" in nobody.refused(*both, status=2)


def test_settings_are_read_from_the_tree_or_a_file(
    checkout: Tidegate, root: Path, tmp_path: Path
) -> None:
    write(root, {".tidegate/code-refs.yaml": "exclude: [web]\n"})
    assert "web/a.js" not in checkout.ok("code-refs", "scan", str(root))
    other = write(tmp_path, {"other.yaml": "exclude: [app.py]\n"}) / "other.yaml"
    with_other = ("code-refs", "scan", str(root), "--settings", str(other))
    assert "web/a.js" in checkout.ok(*with_other)
    other.write_text("exclud: []\n")
    error = checkout.refused(*with_other, status=2)
    assert f"{other} has no field 'exclud'. Did you mean 'exclude'?" in error


def test_a_finished_flag_is_removed_with_the_variant_that_everyone_gets(
    checkout: Tidegate, root: Path
) -> None:
    git(root, "init", "-q")
    remove = ("code-refs", "remove", "checkout", str(root))
    checkout.ok("flag", "set", "checkout", "--default", "on=50,off=50")
    checkout.ok("flag", "enable", "checkout")
    error = checkout.refused(*remove, status=2)
    assert "serves several variants: off, on. To remove it anyway, name the variant" in error
    checkout.ok("flag", "set", "checkout", "--default", "on")
    done = checkout.run(*remove)
    assert done.status == 0
    assert "web/a.js:1: The key stands here" in done.err
    subprocess.run(["git", "apply"], input=done.out, cwd=root, check=True, text=True)
    assert (root / "app.py").read_text() == APP.replace(
        '    if client.boolean("checkout", False, user):\n        return "new"\n'
        '    return client.string("them", "plain", user)\n',
        '    return "new"\n',
    )


@pytest.mark.parametrize(
    ("prepare", "reason"),
    [
        (["kill", "checkout", "--wait", "0s"], "is killed"),
        (["flag", "archive", "checkout"], "is archived"),
        (
            ["release", "start", "checkout", "--treatment", "on", "--policy", "careful"],
            "has the active release",
        ),
    ],
)
def test_a_flag_that_is_not_finished_is_removed_only_with_a_named_variant(
    checkout: Tidegate, root: Path, prepare: list[str], reason: str
) -> None:
    checkout.ok("flag", "enable", "checkout")
    checkout.ok(*prepare)
    remove = ("code-refs", "remove", "checkout", str(root))
    assert reason in checkout.refused(*remove, status=2)
    assert 'return "new"' in checkout.ok(*remove, "--serve", "on")
    error = checkout.refused(*remove, "--serve", "onn", status=2)
    assert "has no variant 'onn'. Did you mean 'on'? It has" in error


def test_rules_prerequisites_and_the_off_variant_count_as_served(
    checkout: Tidegate, root: Path, tmp_path: Path
) -> None:
    remove = ("code-refs", "remove", "checkout", str(root))
    checkout.ok("flag", "disable", "checkout")
    assert '-        return "new"' in checkout.ok(*remove)
    checkout.ok("flag", "enable", "checkout")
    checkout.ok("flag", "set", "checkout", "--default", "on")
    checkout.ok("flag", "create", "other")
    checkout.ok("flag", "set", "checkout", "--prerequisite", "other=on")
    assert "serves several variants: off, on" in checkout.refused(*remove, status=2)
    checkout.ok("flag", "set", "checkout", "--no-prerequisites")
    rule = {"id": "r", "when": {"all": []}, "serve": {"variant": "off"}}
    rules = write(tmp_path, {"rules.yaml": json.dumps([rule])}) / "rules.yaml"
    checkout.ok("flag", "set", "checkout", "--rules", str(rules))
    assert "serves several variants: off, on" in checkout.refused(*remove, status=2)


def test_a_value_needs_no_server(root: Path) -> None:
    nobody = Tidegate({"TIDEGATE_URL": "http://127.0.0.1:9", "TIDEGATE_TOKEN": "x" * 30})
    remove = ("code-refs", "remove", "checkout", str(root))
    assert '-        return "new"' in nobody.ok(*remove, "--value", "false")
    assert "is not JSON" in nobody.refused(*remove, "--value", "dark", status=2)
    both = ("--value", "1", "--serve", "on")
    assert "Give either --serve or --value" in nobody.refused(*remove, *both, status=2)
    missing = nobody.run("code-refs", "remove", "nothing", str(root), "--value", "true")
    assert (missing.out, "Nothing to change" in missing.err) == ("", True)
    error = nobody.refused("code-refs", "remove", "x", str(root / "no"), "--value", "1", status=2)
    assert "is not a folder" in error


@pytest.fixture
def repository(root: Path) -> Path:
    """The source tree as a git repository with one commit, in a folder of it."""
    git(root, "init", "-q", "-b", "main")
    git(root, "add", ".")
    git(root, "commit", "-qm", "Add it")
    return root


def test_a_push_is_shown_by_flag(checkout: Tidegate, repository: Path) -> None:
    commit = git(repository, "rev-parse", "HEAD").strip()
    push = ("code-refs", "push", str(repository), "--repository", "acme/shop")
    template = "https://code.example.com/{commit}/{path}#L{line}"
    line = checkout.ok(*push, "--url-template", template)
    assert "3 uses of 2 flags in 2 files" in line
    assert f"Sent for acme/shop, branch main, commit {commit[:12]}." in line
    shown = checkout.ok("code-refs", "show", "checkout")
    assert f"  app.py:7 (call)  https://code.example.com/{commit}/app.py#L7" in shown
    assert "client.boolean" not in shown
    checkout.ok(*push, "--with-source")
    assert 'app.py:7 (call)  if client.boolean("checkout"' in checkout.ok(
        "code-refs", "show", "checkout"
    )
    assert "there is no such flag" in checkout.ok("code-refs", "show", "them")
    (branch,) = checkout.json("code-refs", "list")
    assert (branch["commit"], branch["is_default"], branch["uses"]) == (commit, True, 3)


def test_a_push_of_a_folder_names_files_from_the_root(checkout: Tidegate, repository: Path) -> None:
    push = ("code-refs", "push", str(repository / "web"), "--repository", "acme/shop")
    body = json.loads(checkout.ok(*push, "--dry-run"))
    assert [each["path"] for each in body["flags"][0]["uses"]] == ["web/a.js"]
    assert checkout.json("code-refs", "list") == []


def test_flags_without_code_are_listed_once_code_is_known(
    checkout: Tidegate, repository: Path
) -> None:
    checkout.ok("flag", "create", "banner")
    listing = ("code-refs", "flags", "--without-code")
    assert "Nothing is known of any code" in checkout.refused(*listing, status=2)
    assert "Give either" in checkout.refused(*listing, "--unknown", status=2)
    push = ("code-refs", "push", str(repository), "--repository", "acme/shop")
    checkout.ok(*push)
    assert [each["flag"] for each in checkout.json(*listing)] == ["banner"]
    assert [each["flag"] for each in checkout.json("code-refs", "flags", "--unknown")] == ["them"]
    write(repository, {"web/a.js": "", "app.py": ""})
    git(repository, "commit", "-qam", "Remove it")
    checkout.ok(*push)
    gone = {each["flag"]: each["gone_since"] for each in checkout.json(*listing)}
    assert gone["banner"] is None
    assert gone["checkout"] is not None


def test_an_earlier_commit_is_not_kept(checkout: Tidegate, repository: Path) -> None:
    push = ("code-refs", "push", str(repository), "--repository", "acme/shop")
    first = git(repository, "rev-parse", "HEAD").strip()
    write(repository, {"b.js": "ask('checkout')"})
    git(repository, "add", ".")
    environment = ("-c", "user.name=Ann", "-c", "user.email=ann@example.org")
    subprocess.run(
        ["git", *environment, "commit", "-qm", "More"],
        cwd=repository, check=True, env={**os.environ, "GIT_COMMITTER_DATE": "2040-01-01T00:00:00"},
    )  # fmt: skip
    checkout.ok(*push)
    refused = checkout.run(*push, "--commit", first)
    assert (refused.status, "Not kept: the server has the later commit" in refused.err) == (0, True)
    assert f"commit {first[:12]}" in checkout.ok(*push, "--commit", first, "--force")


def test_a_push_takes_names_from_the_pipeline(
    checkout: Tidegate, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push = ("code-refs", "push", str(repository))
    for name in [each for each in os.environ if each.startswith(("GITHUB_", "CI_"))]:
        monkeypatch.delenv(name)
    assert "use --repository NAME" in checkout.refused(*push, status=2)
    error = checkout.refused(*push, "--repository", "a", "--commit", "abcdef1", status=2)
    assert "git does not know the commit abcdef1" in error
    git(repository, "checkout", "-q", "--detach")
    assert "use --branch NAME" in checkout.refused(*push, "--repository", "a", status=2)
    github = {
        "GITHUB_REPOSITORY": "acme/shop",
        "GITHUB_REF_NAME": "main",
        "GITHUB_SERVER_URL": "https://github.com",
    }
    for name, value in github.items():
        monkeypatch.setenv(name, value)
    body = json.loads(checkout.ok(*push, "--dry-run"))
    assert (body["repository"], body["branch"], body["is_default"]) == ("acme/shop", "main", True)
    assert body["url_template"] == "https://github.com/acme/shop/blob/{commit}/{path}#L{line}"
    for name in github:
        monkeypatch.delenv(name)
    gitlab = {
        "CI_PROJECT_PATH": "acme/web",
        "CI_COMMIT_REF_NAME": "x",
        "CI_DEFAULT_BRANCH": "trunk",
        "CI_PROJECT_URL": "https://gitlab.com/acme/web",
    }
    for name, value in gitlab.items():
        monkeypatch.setenv(name, value)
    body = json.loads(checkout.ok(*push, "--dry-run"))
    assert (body["repository"], body["branch"], body["is_default"]) == ("acme/web", "x", False)
    assert body["url_template"].startswith("https://gitlab.com/acme/web/-/blob/{commit}/")


def test_a_repository_is_forgotten(checkout: Tidegate, repository: Path) -> None:
    checkout.ok("code-refs", "push", str(repository), "--repository", "acme/shop")
    assert "confirm with --yes" in checkout.refused("code-refs", "forget", "acme/shop", status=2)
    error = checkout.refused("code-refs", "forget", "acme/shp", "--yes")
    assert "Did you mean 'acme/shop'" in error
    checkout.ok("code-refs", "forget", "acme/shop", "--branch", "main", "--yes")
    assert "No code was pushed" in checkout.run("code-refs", "list").err
