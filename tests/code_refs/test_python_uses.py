"""Uses of flags in Python code."""

from __future__ import annotations

from pathlib import Path

import pytest
from tidegate_server.code_refs.settings import ScanSettings, Wrapper

from tests.code_refs.trees import found, scan, write

PREAMBLE = "import tidegate\nclient = tidegate.Client()\n"


def uses(tmp_path: Path, code: str, keys: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    """Return key and kind of the uses in a module."""
    write(tmp_path, {"app.py": code})
    return [(key, kind) for _, _, key, kind in found(scan(tmp_path, keys))]


@pytest.mark.parametrize(
    "call",
    [
        'client.boolean("new-checkout", False)',
        'client.boolean(key="new-checkout", default=False)',
        'client.string("new-checkout", "old", user)',
        'client.integer("new-checkout", 1)',
        'client.float("new-checkout", fallback)',
        'client.object("new-checkout", default())',
        'client.boolean_details("new-checkout", False).value',
        'anything.get_boolean_value("new-checkout", fallback)',
        'anything.get_object_details("new-checkout", {})',
        'await anything.get_string_value_async("new-checkout", "a")',
        'anything.get_integer_value(flag_key="new-checkout", default_value=1)',
        'client.boolean(\n    "new-"\n    "checkout",\n    False,\n)',
        'client.boolean("new" + "-checkout", False)',
    ],
)
def test_every_evaluation_of_the_sdks_is_a_call(tmp_path: Path, call: str) -> None:
    code = f"{PREAMBLE}async def f(user, anything, fallback, default):\n    return {call}\n"
    assert uses(tmp_path, code) == [("new-checkout", "call")]


@pytest.mark.parametrize(
    ("constant", "name"),
    [
        ('KEY = "new-checkout"', "KEY"),
        ('class Keys:\n    NEW = "new-checkout"', "Keys.NEW"),
        ('from enum import Enum\nclass Keys(Enum):\n    NEW = "new-checkout"', "Keys.NEW.value"),
        ("from keys import NEW", "NEW"),
        ("from keys import NEW as N", "N"),
        ("import keys", "keys.NEW"),
        ("import keys as k", "k.Keys.NEW"),
        ("from keys import Keys", "Keys.NEW"),
    ],
)
def test_keys_in_constants_and_enums_are_followed(tmp_path: Path, constant: str, name: str) -> None:
    write(
        tmp_path,
        {"keys.py": 'NEW = "new-checkout"\nclass Keys:\n    NEW: str = "new-checkout"\n'},
    )
    code = f"{constant}\n{PREAMBLE}client.boolean({name}, False)\n"
    assert ("new-checkout", "call") in uses(tmp_path, code)


def test_a_constant_that_changes_is_a_computed_key(tmp_path: Path) -> None:
    code = f'KEY = "a"\nKEY = "b"\n{PREAMBLE}client.boolean(KEY, False)\n'
    write(tmp_path, {"app.py": code})
    result = scan(tmp_path)
    assert found(result) == []
    assert [(place.path, place.line) for place in result.computed] == [("app.py", 5)]


@pytest.mark.parametrize(
    "code",
    [
        "def f(flags: 'tidegate.Client'):\n    flags.boolean('a', x())",
        "def f(flags: tidegate.Client | None):\n    flags.boolean('a', x())",
        "class A:\n    def __init__(self):\n        self.c = tidegate.Client()\n"
        "    def f(self):\n        self.c.boolean('a', x())",
        "from dataclasses import dataclass\n@dataclass\nclass A:\n    c: tidegate.Client\n"
        "    def f(self):\n        self.c.boolean('a', x())",
        "from shop.flags import client as c\nc.boolean('a', x())",
        "from .flags import client\nclient.boolean('a', x())",
        "from shop import flags\nflags.client.boolean('a', x())",
        "with tidegate.Client() as c:\n    c.boolean('a', x())",
        "tidegate.Client.offline({}).boolean('a', x())",
    ],
)
def test_clients_are_recognized(tmp_path: Path, code: str) -> None:
    write(
        tmp_path,
        {"shop/flags.py": PREAMBLE, "shop/app.py": f"import tidegate\n{code}\n"},
    )
    (use,) = scan(tmp_path).uses
    assert (use.flag, use.path, use.certain) == ("a", "shop/app.py", True)


@pytest.mark.parametrize(
    ("call", "certain"),
    [
        ('request.flags.boolean("a", False)', True),
        ('request.flags.string("a", "x")', True),
        ('request.flags.integer("a", 5)', True),
        ('faker.boolean("a", chance())', False),
        ('form.string("name", required)', False),
        ('form.boolean("a", 1)', False),
    ],
)
def test_a_call_of_something_unknown_is_certain_only_with_a_default_of_its_type(
    tmp_path: Path, call: str, certain: bool
) -> None:
    write(tmp_path, {"app.py": f"def f(request, faker, form, chance, required):\n    {call}\n"})
    assert [use.certain for use in scan(tmp_path).uses] == [certain]


@pytest.mark.parametrize(
    "call",
    [
        'fields.string("A Name", "text")',
        'fields.object("name")',
        'np.float("a", 1.5)',
        'boolean("a", False)',
    ],
)
def test_functions_of_other_libraries_are_no_calls(tmp_path: Path, call: str) -> None:
    write(tmp_path, {"app.py": f"import fields\nimport numpy as np\n{call}\n"})
    assert [use for use in scan(tmp_path).uses if use.certain] == []


def test_wrappers_of_the_application_are_calls(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "app.py": "from shop import features\n"
            'features.is_on("a")\nis_on("b")\nother.is_on("c")\n'
            'variant(user, flag="d")\nfeatures.is_on(name)\n'
        },
    )
    settings = ScanSettings(
        wrappers=(Wrapper("features.is_on"), Wrapper("variant", argument=1, keyword="flag"))
    )
    result = scan(tmp_path, (), settings)
    assert found(result) == [("app.py", 2, "a", "call"), ("app.py", 5, "d", "call")]
    assert [place.line for place in result.computed] == [6]


def test_what_tests_set_is_told_apart(tmp_path: Path) -> None:
    code = """\
from tidegate.testing import each_variant, flags
import pytest

with flags(new_checkout=True, strict=True) as asked:
    asked.assert_asked("new-checkout")

@flags({"theme": "dark"})
def test_a(): ...

@each_variant("theme", "dark", "light")
def test_b(): ...

@pytest.mark.flags(theme="dark", unknown=1)
def test_c(flags):
    flags(new_checkout=False)
"""
    write(tmp_path, {"test_app.py": code})
    assert found(scan(tmp_path, ("new-checkout", "theme"))) == [
        ("test_app.py", 4, "new-checkout", "test"),
        ("test_app.py", 5, "new-checkout", "test"),
        ("test_app.py", 7, "theme", "test"),
        ("test_app.py", 10, "theme", "test"),
        ("test_app.py", 13, "theme", "test"),
        ("test_app.py", 15, "new-checkout", "test"),
    ]


def test_a_key_that_is_passed_on_is_a_use_and_a_comment_is_none(tmp_path: Path) -> None:
    code = '# "new-checkout"\nask(lookup["new-checkout"])\n"""about new-checkout"""\n'
    assert uses(tmp_path, code, ("new-checkout",)) == [("new-checkout", "text")]


def test_a_file_that_is_not_python_is_searched_as_text(tmp_path: Path) -> None:
    write(tmp_path, {"old.py": 'print "x"\nask("new-checkout")\n'})
    result = scan(tmp_path, ("new-checkout",))
    assert found(result) == [("old.py", 2, "new-checkout", "text")]
    assert [(place.path, place.line) for place in result.unreadable] == [("old.py", 1)]


def test_a_file_in_another_encoding_is_read_as_python_reads_it(tmp_path: Path) -> None:
    text = f'# coding: latin-1\n{PREAMBLE}client.boolean("a", False)  # é\n'
    (tmp_path / "app.py").write_bytes(text.encode("latin-1"))
    assert found(scan(tmp_path)) == [("app.py", 4, "a", "call")]


def test_imports_in_a_circle_end(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "a.py": "from b import KEY, client\nclient.boolean(KEY, x())\n",
            "b.py": "from a import KEY, client\n",
        },
    )
    assert found(scan(tmp_path)) == []
