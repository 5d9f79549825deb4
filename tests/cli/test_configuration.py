"""`tidegate export`, `plan`, `apply` and `drift` with real folders and a real server."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from tidegate_server.cli import project_folder
from tidegate_server.documents.project_files import SECTIONS
from tidegate_server.errors import Unreadable

from tests.cli.calls import Tidegate


@pytest.fixture
def folder(checkout: Tidegate, tmp_path: Path) -> Path:
    """A folder with the export of a project with a flag and a policy."""
    path = tmp_path / "shop"
    checkout.ok("export", str(path))
    return path


def edit(path: Path, change: Callable[[Any], None]) -> None:
    """Change the value in a YAML file."""
    value = yaml.safe_load(path.read_text())
    change(value)
    path.write_text(yaml.safe_dump(value))


def contents(path: Path) -> dict[str, bytes]:
    return {str(each): each.read_bytes() for each in sorted(path.rglob("*")) if each.is_file()}


def test_an_export_is_one_file_for_each_object(folder: Path) -> None:
    files = [str(each.relative_to(folder)) for each in sorted(folder.rglob("*.yaml"))]
    assert files == [
        *("environments/production.yaml", "flags/checkout.yaml", "policies/careful.yaml"),
        "project.yaml",
    ]
    assert (folder / "flags/checkout.yaml").read_text() == (
        "# yaml-language-server: $schema=../.schemas/flag.schema.json\n"
        "key: checkout\n"
        "type: boolean\n"
        "variants:\n"
        '  - key: "on"\n'
        "    value: true\n"
        '  - key: "off"\n'
        "    value: false\n"
        "targeting:\n"
        "  production:\n"
        "    enabled: true\n"
        '    off_variant: "off"\n'
        "    default:\n"
        '      variant: "off"\n'
    )
    for file in folder.rglob("*.yaml"):
        modeline = file.read_text().splitlines()[0]
        schema = file.parent / modeline.removeprefix("# yaml-language-server: $schema=")
        assert json.loads(schema.read_text())["$defs"] is not None


def test_an_export_onto_an_export_changes_nothing(checkout: Tidegate, folder: Path) -> None:
    before = {path: Path(path).stat().st_mtime_ns for path in contents(folder)}
    result = checkout.run("export", str(folder))
    assert (result.status, "0 files written" in result.err) == (0, True)
    assert {path: Path(path).stat().st_mtime_ns for path in contents(folder)} == before


def test_comments_and_other_words_for_the_same_survive_an_export(
    checkout: Tidegate, folder: Path
) -> None:
    file = folder / "flags/checkout.yaml"
    text = file.read_text() + "tags: []  # none yet\n# Ask Ann.\n"
    file.write_text(text)
    checkout.ok("export", str(folder))
    assert file.read_text() == text


def test_leading_comments_survive_a_change_on_the_server(checkout: Tidegate, folder: Path) -> None:
    file = folder / "flags/checkout.yaml"
    file.write_text("# Ask Ann.\n# Then Bob.\n" + file.read_text())
    checkout.ok("flag", "edit", "checkout", "--owner", "payments")
    checkout.ok("export", str(folder))
    assert file.read_text().splitlines()[:4] == [
        "# yaml-language-server: $schema=../.schemas/flag.schema.json",
        *("# Ask Ann.", "# Then Bob.", "key: checkout"),
    ]
    assert "owner: payments" in file.read_text()


def test_files_of_deleted_objects_are_left_unless_pruned(checkout: Tidegate, folder: Path) -> None:
    checkout.ok("policy", "delete", "careful", "--yes")
    assert "policies/careful.yaml" in checkout.run("export", str(folder)).err
    assert (folder / "policies/careful.yaml").exists()
    checkout.ok("export", str(folder), "--prune")
    assert not (folder / "policies/careful.yaml").exists()


def test_an_edit_in_a_file_is_planned_and_applied(checkout: Tidegate, folder: Path) -> None:
    def serve_on(flag: Any) -> None:
        flag["targeting"]["production"]["default"] = {"variant": "on"}

    edit(folder / "flags/checkout.yaml", serve_on)
    (folder / "segments").mkdir()
    (folder / "segments/staff.yaml").write_text("key: staff\nincluded: [ann]\n")
    shown = checkout.ok("plan", str(folder))
    assert "~ flag checkout in production  flags/checkout.yaml" in shown
    assert '    default variant: "off" → "on"' in shown
    assert "+ segment staff  segments/staff.yaml" in shown
    assert "Affects production: 1 flag, 1 segment, 0 live instances." in shown
    assert "1 created, 1 edited, 0 deleted" in shown
    assert checkout.ok("import", "--plan", str(folder)) == shown
    assert checkout.run("drift", str(folder)).status == 5
    refused = checkout.refused("apply", str(folder), status=2)
    assert "confirm with --yes" in refused
    applied = checkout.ok("apply", str(folder), "--yes", "--reason", "from git")
    assert "Applied; new versions: production" in applied
    assert checkout.json("flag", "show", "checkout")["targeting"]["default"] == {"variant": "on"}
    assert "is as the files say" in checkout.ok("apply", str(folder), "--yes")
    assert checkout.run("drift", str(folder)).status == 0


def test_drift_shows_what_changed_on_the_server(checkout: Tidegate, folder: Path) -> None:
    checkout.ok("flag", "edit", "checkout", "--owner", "payments")
    checkout.ok("segment", "create", "new")
    checkout.ok("flag", "create", "in-use")
    result = checkout.run("drift", str(folder))
    assert result.status == 5
    assert 'owner: "payments" → ""' in result.out
    assert "- segment new" in result.out
    assert "- flag in-use" in result.out
    assert "0 created, 1 edited, 2 deleted" in result.out
    plan = json.loads(checkout.run("drift", str(folder), "-o", "json").out)
    files = {each["key"]: each.get("file") for each in plan["documents"]}
    assert files == {"checkout": "flags/checkout.yaml", "new": None, "in-use": None}


def test_a_problem_is_shown_with_its_file_and_line(checkout: Tidegate, folder: Path) -> None:
    file = folder / "flags/checkout.yaml"
    rules = (
        "    rules:\n      - id: a\n        when: {segment: nobody}\n"
        "        serve: {variant: 'on'}\n"
    )
    file.write_text(file.read_text() + rules)
    line = file.read_text().splitlines().index("        when: {segment: nobody}") + 1
    where = f"flags/checkout.yaml:{line} /targeting/production/rules/0/when/segment: There is no"
    for command in (["plan"], ["apply", "--yes"], ["drift"]):
        result = checkout.run(*command, str(folder))
        assert result.status == 3
        assert where in result.out
    plan = json.loads(checkout.run("plan", str(folder), "-o", "json").out)
    assert (plan["problems"][0]["file"], plan["problems"][0]["line"]) == (
        "flags/checkout.yaml",
        line,
    )


def test_files_with_problems_are_no_drift_but_a_failure(checkout: Tidegate, folder: Path) -> None:
    checkout.ok("flag", "edit", "checkout", "--owner", "payments")
    edit(
        folder / "flags/checkout.yaml",
        lambda flag: flag["targeting"]["production"].update(off_variant="blue"),
    )
    result = checkout.run("drift", str(folder))
    assert result.status == 3, result.out
    assert 'owner: "payments" → ""' in result.out
    assert "The files cannot be applied" in result.out


def test_a_plan_file_is_applied_later_or_refused(
    checkout: Tidegate, folder: Path, tmp_path: Path
) -> None:
    edit(folder / "flags/checkout.yaml", lambda flag: flag.update(owner="payments"))
    saved = tmp_path / "plan.json"
    checkout.ok("plan", str(folder), "--out", str(saved))
    edit(folder / "flags/checkout.yaml", lambda flag: flag.update(owner="someone else"))
    checkout.ok("apply", "--plan-file", str(saved), "--yes")
    assert checkout.json("flag", "show", "checkout", "--definition")["owner"] == "payments"
    # If its answer was lost, one sends it again.
    assert "Nothing is left" in checkout.ok("apply", "--plan-file", str(saved), "--yes")
    checkout.ok("apply", str(folder), "--yes")
    assert "make a new plan" in checkout.refused("apply", "--plan-file", str(saved), "--yes")
    other = checkout.with_variables(TIDEGATE_PROJECT="default")
    assert "give --project" in other.refused("apply", "--plan-file", str(saved), status=2)


def test_a_prune_deletes_what_has_no_file(checkout: Tidegate, folder: Path) -> None:
    (folder / "policies/careful.yaml").unlink()
    assert "Not in the files, and kept: policy careful." in checkout.ok("plan", str(folder))
    assert "- policy careful" in checkout.ok("plan", str(folder), "--prune")
    checkout.ok("apply", str(folder), "--prune", "--yes")
    assert checkout.json("policy", "list") == []


def test_a_folder_without_files_is_refused(tidegate: Tidegate, tmp_path: Path) -> None:
    for name in ("apply", "plan", "drift"):
        assert "no files of a project" in tidegate.refused(name, str(tmp_path), status=2)


def test_files_of_another_project_are_refused(checkout: Tidegate, folder: Path) -> None:
    other = checkout.with_variables(TIDEGATE_PROJECT="default")
    result = other.run("apply", str(folder), "--yes")
    assert result.status == 3
    assert "project.yaml:3 /key: This is the configuration of project" in result.out


def write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


BOMB = "a: &a [x, x]\nb: [*a, *a]\n"

BAD_FILES: dict[str, tuple[str, bytes, str]] = {
    "bomb": ("flags/a.yaml", BOMB.encode(), "anchors or aliases"),
    "duplicate-key": ("flags/a.yaml", b"key: a\nkey: b\n", "the key 'key' on line 2 again"),
    "tab": ("flags/a.yaml", b"key: a\nx:\n\ty: 1\n", "is not YAML: found character"),
    "tag": ("flags/a.yaml", b"key: !!python/object:os.system a\n", "the tag"),
    "latin-1": ("flags/a.yaml", b"key: a\nname: \xe4\n", "not UTF-8: byte 13"),
    "scalar": ("flags/a.yaml", b"hello\n", "This must have fields"),
    "two-documents": ("flags/a.yaml", b"key: a\n---\nkey: b\n", "another document"),
    "other-key": ("flags/a.yaml", b"key: ../../etc/passwd\n", "make them the same"),
    "yml": ("flags/a.yml", b"key: a\n", "must end with .yaml"),
    "nested": ("flags/team/a.yaml", b"key: a\n", "flags has no folders"),
    "misspelled-folder": ("flag/a.yaml", b"key: a\n", "Did you mean 'flags'?"),
    "lost": ("checkout.yaml", b"key: a\n", "move it to one of environments"),
    "deep": ("flags/a.yaml", b"key: a\nx: " + b"[" * 5_000, "nested too deeply"),
    "long": ("flags/a.yaml", b"#" * 4_000_001, "longer than 4 MB"),
    "many-values": ("flags/a.yaml", b"x: [" + b"1," * 200_001 + b"]", "more than 200000 values"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_file_is_named_and_nothing_is_sent(
    tidegate: Tidegate, folder: Path, case: str
) -> None:
    name, data, message = BAD_FILES[case]
    write(folder / name, data)
    silent = tidegate.with_variables(TIDEGATE_URL="http://127.0.0.1:9")
    refused = silent.refused("plan", str(folder), status=2)
    assert message in refused
    assert name.split("/")[0] in refused


def test_every_bad_file_is_named(tidegate: Tidegate, folder: Path) -> None:
    for name in ("a", "b"):
        write(folder / f"flags/{name}.yaml", b"key: c\n")
    refused = tidegate.refused("plan", str(folder), status=2)
    assert "flags/a.yaml" in refused
    assert "flags/b.yaml" in refused


def test_symbolic_links_are_neither_read_nor_written_through(
    tidegate: Tidegate, folder: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "secret.yaml"
    secret.write_text("key: secret\nname: do not send\n")
    (folder / "flags/secret.yaml").symlink_to(secret)
    assert "symbolic link" in tidegate.refused("plan", str(folder), status=2)
    (folder / "flags/secret.yaml").unlink()
    (folder / "flags/checkout.yaml").unlink()
    (folder / "flags").rmdir()
    outside = tmp_path / "outside"
    outside.mkdir()
    (folder / "flags").symlink_to(outside)
    assert "symbolic link" in tidegate.refused("export", str(folder), status=2)
    assert list(outside.iterdir()) == []


def test_a_pipe_does_not_block(tidegate: Tidegate, folder: Path) -> None:
    os.mkfifo(folder / "flags/pipe.yaml")
    assert "not a plain file" in tidegate.refused("plan", str(folder), status=2)


def test_windows_line_ends_and_a_byte_order_mark_are_read(checkout: Tidegate, folder: Path) -> None:
    file = folder / "flags/checkout.yaml"
    data = b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n")
    file.write_bytes(data)
    assert checkout.run("drift", str(folder)).status == 0
    checkout.ok("export", str(folder))
    assert file.read_bytes() == data


def test_other_files_are_left_alone(checkout: Tidegate, folder: Path) -> None:
    for name in ("README.md", "flags/README.md", ".github/ci.yaml", "docs/x.txt"):
        write(folder / name, b"hello")
    assert checkout.run("drift", str(folder)).status == 0
    checkout.ok("export", str(folder), "--prune")
    assert (folder / "flags/README.md").read_text() == "hello"


def test_a_full_disk_changes_no_file(
    checkout: Tidegate, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout.ok("flag", "edit", "checkout", "--owner", "payments")
    checkout.ok("segment", "create", "staff")
    before = contents(folder)
    real = project_folder._write
    written: list[Path] = []

    def write_until_full(path: Path, text: str) -> None:
        if written:
            path.write_text(text[:5])
            raise OSError(28, "No space left on device")
        written.append(path)
        real(path, text)

    monkeypatch.setattr(project_folder, "_write", write_until_full)
    refused = checkout.refused("export", str(folder), status=2)
    assert "cannot be written: No space left on device" in refused
    assert contents(folder) == before


def test_a_server_cannot_write_outside_of_the_folder() -> None:
    empty: dict[str, list[Any]] = {each: [] for each in SECTIONS}
    for key in ("../x", "a/b", "..", "", ".hidden", "x" * 101, 5):
        exported = {**empty, "project": {"key": "p"}, "flags": [{"key": key}]}
        with pytest.raises(Unreadable, match="names no file"):
            project_folder.exported_places(exported)
    twins = {**empty, "project": {"key": "p"}, "hooks": [{"id": "hook_a"}, {"id": "hook_A"}]}
    with pytest.raises(Unreadable, match="one file on some disks"):
        project_folder.exported_places(twins)


def test_an_export_without_a_folder_prints_json(checkout: Tidegate) -> None:
    exported = json.loads(checkout.ok("export", "-o", "json"))
    assert [each["key"] for each in exported["flags"]] == ["checkout"]
    assert "Give the folder" in checkout.refused("export", status=2)
