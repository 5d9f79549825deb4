"""Removing a finished flag from Python code."""

from __future__ import annotations

import subprocess
import textwrap
from pathlib import Path
from typing import Any

import pytest
from tidegate_server.code_refs.flag_removal import FlagRemoval, Removal, Variant
from tidegate_server.code_refs.patches import unified_patch
from tidegate_server.code_refs.settings import ScanSettings, Wrapper
from tidegate_server.code_refs.source_files import SourceTree

from tests.code_refs.trees import git, write

HEADER = "import tidegate\nclient = tidegate.Client()\n"
ON = 'client.boolean("new", False)'


def removed(
    root: Path, value: Any = True, settings: ScanSettings | None = None, **files: str
) -> Removal:
    """Remove the flag `new` from files."""
    write(root, {f"{name}.py": text for name, text in files.items()})
    variant = Variant("on", value)
    return FlagRemoval(SourceTree(root), "new", variant, settings or ScanSettings()).run()


def after(root: Path, code: str, value: Any = True) -> str:
    """Return a module without the flag, and without its header."""
    removal = removed(root, value, app=HEADER + textwrap.dedent(code))
    assert removal.left == ()
    (change,) = removal.changes
    text = change.after.decode()
    assert text.startswith(HEADER)
    return text.removeprefix(HEADER)


BRANCHES = f"""\
if {ON}:
    # the new one
    a()  # fast
elif other:
    b()
else:
    # the old one
    c()
"""


def test_the_branch_that_runs_stays_with_its_comments(tmp_path: Path) -> None:
    assert after(tmp_path, BRANCHES) == "# the new one\na()  # fast\n"
    assert after(tmp_path, BRANCHES, False) == (
        "if other:\n    b()\nelse:\n    # the old one\n    c()\n"
    )


CHAIN = f"""\
if one:
    a()
elif {ON}:
    b()
elif two:
    c()
else:
    d()
"""


def test_a_branch_in_the_middle_becomes_the_last_or_goes(tmp_path: Path) -> None:
    assert after(tmp_path, CHAIN) == "if one:\n    a()\nelse:\n    b()\n"
    assert after(tmp_path, CHAIN, False) == (
        "if one:\n    a()\nelif two:\n    c()\nelse:\n    d()\n"
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (f"f(not {ON})", "f(False)"),
        (f"f(a if {ON} else b)", "f(a)"),
        (f"f((a or b) if {ON} else c, 1)", "f(a or b, 1)"),
        (f"f({ON} and (a or b) and c)", "f((a or b) and c)"),
        (f"if {ON} and a: f()", "if a: f()"),
        (f"if a and {ON}: f()", "if a: f()"),
        (f"f(a and {ON})", "f(a and True)"),
        (f"f(a in b and {ON})", "f(a in b)"),
        (f"if not {ON} or a: f()", "if a: f()"),
        (f"if a() or {ON}: f()", "if a() or True: f()"),
        (f"while {ON} and a(): f()", "while a(): f()"),
        (f"f(bool({ON}))", "f(True)"),
        (f"f({ON} is True)", "f(True)"),
        (f"return_ = 1if {ON}else 2", "return_ = 1"),
        (f"assert {ON}", "assert True"),
        (f"f(x={ON})", "f(x=True)"),
        ('f(client.boolean_details("new", False).value)', "f(True)"),
        ('f(client.boolean_details("new", False).variant)', 'f("on")'),
        (f"match x:\n    case 1:\n        {ON}", "match x:\n    case 1:\n        pass"),
        (f"if a:\n    {ON}\nelse:\n    {ON}", "if a:\n    pass\nelse:\n    pass"),
        (f"a(); {ON}; b()", "a(); b()"),
        (f"f(\n    a,\n    {ON},  # why\n    b,\n)", "f(\n    a,\n    True,  # why\n    b,\n)"),
    ],
)
def test_expressions_become_simpler_as_far_as_they_mean_the_same(
    tmp_path: Path, old: str, new: str
) -> None:
    assert after(tmp_path, f"{old}\n") == f"{new}\n"


@pytest.mark.parametrize(
    ("old", "value", "new"),
    [
        ('f(client.string("new", "a") == "b")', "b", "f(True)"),
        ('f(client.string("new", "a") in ("b", "c"))', "x", "f(False)"),
        ('f(client.string("new", "a"))', 'it\'s "b"', "f('it\\'s \"b\"')"),
        ('f(client.integer("new", 1) > 5)', 7, "f(True)"),
        ('f(client.integer("new", 1))', 7.0, "f(7)"),
        ('f(client.float("new", 1) ** 2)', -2, "f((-2.0) ** 2)"),
        ('f(client.integer("new", 1).bit_length())', 7, "f((7).bit_length())"),
        ('f(client.object("new", {}))', {"a": [1, None]}, 'f({"a": [1, None]})'),
        ("def f(c): return c.get_string_value('new', 'a')", "b", "def f(c): return 'b'"),
    ],
)
def test_values_of_every_type_are_written_as_python(
    tmp_path: Path, old: str, value: Any, new: str
) -> None:
    text = after(tmp_path, f"{old}\n", value)
    assert text == f"{new}\n" or text.replace('"', "'") == f"{new}\n".replace('"', "'")


def test_a_match_keeps_the_case_that_fits(tmp_path: Path) -> None:
    code = """\
    def f(c):
        match client.string("new", "a"):
            case "a" | "b":
                x()  # one
            case _:
                y()
        return 1
    """
    assert after(tmp_path, code, "b") == "def f(c):\n    x()  # one\n    return 1\n"
    assert after(tmp_path, code, "c") == "def f(c):\n    y()\n    return 1\n"


FUNCTION = """\
from tidegate import Context
from old import old_page
from parts import (
    header,
    new_page,
)

KEY = "new"


def page(user):
    context = Context(user.id, plan=user.plan)
    enabled = client.boolean(KEY, False, context)
    if enabled:
        return new_page(header, user)

    text = old_page(header)
    return text


def log(user):
    print(enabled_for(user))
"""


def test_what_only_the_removed_code_used_goes_too(tmp_path: Path) -> None:
    removal = removed(tmp_path, True, app=HEADER + FUNCTION)
    assert removal.changes[0].after.decode() == (
        HEADER + "from parts import (\n    header,\n    new_page,\n)\n\n\n"
        "def page(user):\n    return new_page(header, user)\n\n\n"
        "def log(user):\n    print(enabled_for(user))\n"
    )
    assert removal.left == ()
    assert {note.message for note in removal.notes} == {
        "Removed the import Context: nothing uses it.",
        "Removed the import old_page: nothing uses it.",
        "Removed the constant KEY: nothing uses it.",
    }


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("other", "from app import old_page\n"),
        ("other", "from app import *\n"),
        ("other", "import app\napp.old_page\n"),
    ],
)
def test_an_import_that_another_module_may_use_stays(tmp_path: Path, name: str, text: str) -> None:
    write(tmp_path, {f"{name}.py": text})
    removal = removed(tmp_path, True, app=HEADER + FUNCTION)
    assert "from old import old_page" in removal.changes[0].after.decode()


@pytest.mark.parametrize(
    "line", ['__all__ = ["old_page"]', "def f(x: 'old_page'): ...", "old_page"]
)
def test_an_import_that_the_module_still_names_stays(tmp_path: Path, line: str) -> None:
    removal = removed(tmp_path, True, app=f"{HEADER}{FUNCTION}\n\n{line}\n")
    assert "from old import old_page" in removal.changes[0].after.decode()


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ('client.boolean("new", compute())', "An argument is computed"),
        ('client.boolean("new", False, user())', "An argument is computed"),
        ('make_client().boolean("new", False)', "What the method is called on is computed"),
        ('x = client.boolean_details("new", False)', "The details of the evaluation are used"),
        ('x = client.boolean_details("new", False).reason', "The details of the evaluation are"),
        ('x = f"{client.boolean(KEY, False)}"', "inside of an f-string"),
        ('x = client.string("new", "a")', "The code asks for string, and the variant's value is"),
        ('x = of.get_boolean_value_async("new", False)', "The call is not awaited here"),
        ('x = form.boolean("new", chance())', "not certain"),
        ("with flags(new=True): pass", "A test sets the flag"),
        ('ask("new")', "The key stands here"),
    ],
)
def test_what_is_not_understood_stays_and_is_listed(
    tmp_path: Path, code: str, problem: str
) -> None:
    header = f'{HEADER}KEY = "ne" + "w"\n'
    removal = removed(tmp_path, True, app=f"{header}{code}\n{ON}\n")
    assert removal.changes[0].after.decode() == f"{header}{code}\n"
    assert [place.line for place in removal.left] == [4]
    assert problem in removal.left[0].message


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("if NEW:\n    x = 1\nprint(x)", "x would no longer be a local variable"),
        ("if NEW:\n    yield 1\nreturn 2", "no longer be a generator"),
        ("if NEW:\n    global x\n    x = 1\nx = 2", "global or nonlocal"),
    ],
)
def test_code_whose_absence_would_change_the_rest_stays(
    tmp_path: Path, body: str, problem: str
) -> None:
    code = f"{HEADER}def f():\n" + textwrap.indent(body.replace("NEW", ON), "    ") + "\n"
    removal = removed(tmp_path, False, app=code)
    assert removal.changes[0].after.decode() == code.replace(ON, "False")
    assert problem in removal.notes[0].message


def test_a_generator_that_is_never_reached_stays_one(tmp_path: Path) -> None:
    code = f"def f():\n    if {ON}:\n        return\n    yield 1\n"
    assert after(tmp_path, code) == "def f():\n    return\n    yield 1\n"


def test_texts_of_several_lines_keep_their_indentation(tmp_path: Path) -> None:
    code = f'if {ON}:\n    x = """a\n      b\n    c"""\n    y = (1,\n         2)\n'
    assert after(tmp_path, code) == 'x = """a\n      b\n    c"""\ny = (1,\n     2)\n'


def test_other_flags_and_other_languages_are_left_alone(tmp_path: Path) -> None:
    write(tmp_path, {"a.js": "client.getBooleanValue('new', false)\n"})
    code = f'{HEADER}x = client.boolean("other", False)\n'
    removal = removed(tmp_path, True, app=code)
    assert removal.changes == ()
    assert [(place.path, place.message) for place in removal.left] == [
        ("a.js", "This is not Python; change it by hand.")
    ]


def test_a_wrapper_is_replaced_if_its_type_is_known(tmp_path: Path) -> None:
    code = 'x = is_on("new")\n'
    untyped = removed(tmp_path, True, ScanSettings(wrappers=(Wrapper("is_on"),)), app=code)
    assert untyped.changes == ()
    assert "do not say which type" in untyped.left[0].message
    typed = ScanSettings(wrappers=(Wrapper("is_on", type="boolean"),))
    assert removed(tmp_path, True, typed, app=code).changes[0].after == b"x = True\n"


def test_a_variant_without_a_value_leaves_the_default(tmp_path: Path) -> None:
    root = write(tmp_path, {"app.py": f'{HEADER}x = client.string("new", "mine")\n'})
    variant = Variant("auto", None, has_value=False)
    removal = FlagRemoval(SourceTree(root), "new", variant, ScanSettings()).run()
    assert removal.changes[0].after.decode() == f'{HEADER}x = "mine"\n'


@pytest.mark.parametrize(
    "content",
    [
        f"{HEADER}if {ON}:\n    a()\nb()",
        f"{HEADER}if {ON}:\r\n    a()\r\n".replace("\r\n", "\n").replace("\n", "\r\n"),
        f"\ufeff{HEADER}if {ON}:\n    a()  # ü\n",
        f"{HEADER}# \f form feed\nif {ON}:\n    a()\n",
    ],
    ids=["no line end", "windows", "byte-order mark", "form feed"],
)
def test_the_patch_applies_with_git(tmp_path: Path, content: str) -> None:
    root = tmp_path / "root"
    names = ("app.py", "with space.py", "sub/ü.py")
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content.encode())
    git(root, "init", "-q")
    git(root, "config", "core.autocrlf", "false")
    removal = FlagRemoval(SourceTree(root), "new", Variant("on", True), ScanSettings()).run()
    assert len(removal.changes) == 3
    patch = unified_patch(removal.changes)
    subprocess.run(["git", "apply", "--check"], input=patch, cwd=root, check=True)
    subprocess.run(["git", "apply"], input=patch, cwd=root, check=True)
    for change in removal.changes:
        assert (root / change.path).read_bytes() == change.after
        assert b"new" not in change.after
        compile(change.after, change.path, "exec")
