"""The plugin in separate test runs, as authors of an application use it."""

from __future__ import annotations

import sys

import pytest

pytest_plugins = ("pytester",)

APPLICATION = """
import tidegate.testing

client = tidegate.testing.client()


def page():
    return "new" if client.boolean("new-checkout", False) else "old"
"""


def run(pytester: pytest.Pytester, tests: str, *arguments: str, ini: str = "") -> pytest.RunResult:
    pytester.makepyfile(shop=APPLICATION, test_shop=f"import pytest, shop\n\n{tests}")
    pytester.makeini(f"[pytest]\npythonpath = .\n{ini}")
    return pytester.runpytest_subprocess("-p", "no:cacheprovider", *arguments)


def test_the_fixture_sets_flags_until_the_test_ends(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
def test_new(flags):
    assert shop.page() == "old"
    flags(new_checkout=True)
    assert shop.page() == "new"
    flags({"new-checkout": False})
    assert shop.page() == "old"
    flags.asked.assert_asked("new-checkout")

def test_old():
    assert shop.page() == "old"
""",
    )
    result.assert_outcomes(passed=2)


def test_the_marker_sets_flags_and_the_innermost_wins(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
@pytest.mark.flags(new_checkout=True)
class TestNew:
    def test_class(self):
        assert shop.page() == "new"

    @pytest.mark.flags({"new-checkout": False})
    def test_function(self):
        assert shop.page() == "old"
""",
        "--strict-markers",
    )
    result.assert_outcomes(passed=2)


def test_a_strict_run_fails_on_flags_that_a_test_does_not_set(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
def test_set(flags):
    flags(new_checkout=True)
    assert shop.page() == "new"

def test_forgotten(flags):
    shop.page()

@pytest.mark.flags(other=True)
def test_another_one():
    shop.page()
""",
        ini="tidegate_strict = true",
    )
    result.assert_outcomes(passed=1, failed=2)
    result.stdout.fnmatch_lines(["*UnknownFlag*new-checkout*"])


def test_the_fixture_works_in_parallel_xdist_workers(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
@pytest.mark.parametrize("on", [True, False] * 10)
def test_page(flags, on):
    flags(new_checkout=on)
    for _ in range(100):
        assert shop.page() == ("new" if on else "old")
""",
        "-n2",
    )
    result.assert_outcomes(passed=20)


def test_each_variant_is_a_test_of_its_own(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
from tidegate.testing import each_variant, flags

seen = []

@each_variant("new-checkout")
@pytest.mark.parametrize("number", [1, 2])
def test_page(number, tmp_path):
    assert tmp_path.exists()
    seen.append((shop.page(), number))

@each_variant("new-checkout")
@each_variant("theme", "dark", "light", "plain")
@flags(banner="shown")
def test_combinations():
    theme = shop.client.string("theme", "")
    assert shop.client.string("banner", "") == "shown"
    seen.append((shop.page(), theme))

class TestMethods:
    @each_variant("new-checkout")
    def test_page(self):
        assert shop.page() == "new"    # fails for one of them

def test_all_were_seen():
    assert sorted(seen[:4]) == [("new", 1), ("new", 2), ("old", 1), ("old", 2)]
    assert sorted(seen[4:]) == [
        (page, theme) for page in ("new", "old") for theme in ("dark", "light", "plain")
    ]
    assert shop.page() == "old"
""",
        "-v",
    )
    result.assert_outcomes(passed=4 + 6 + 1 + 1, failed=1)
    result.stdout.fnmatch_lines(
        [
            "*test_page*new-checkout=True*PASSED*",
            "*test_combinations?new-checkout=False, theme='dark'? PASSED*",
            "*TestMethods::test_page?new-checkout=False? FAILED*",
        ]
    )


UNITTEST = """
import unittest, shop
from tidegate.testing import each_variant

seen = []

class Pages(unittest.TestCase):
    @each_variant("new-checkout")
    def test_page(self):
        seen.append(shop.page())

    @each_variant("theme", "dark", "light")
    def test_theme(self):
        self.assertEqual(shop.client.string("theme", ""), "light")

class Tasks(unittest.IsolatedAsyncioTestCase):
    @each_variant("new-checkout")
    async def test_page(self):
        seen.append(shop.page())

class Last(unittest.TestCase):
    def test_all_were_seen(self):
        self.assertEqual(seen, ["old", "new", "old", "new"])

def load_tests(loader, tests, pattern):
    cases = (Pages, Tasks, Last)
    return unittest.TestSuite(map(loader.loadTestsFromTestCase, cases))

if __name__ == "__main__":
    unittest.main()
"""


def test_each_variant_is_a_subtest_of_unittest(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(shop=APPLICATION, cases=UNITTEST)
    result = pytester.run(sys.executable, "-m", "unittest", "cases", "-v")
    result.stderr.fnmatch_lines(["*theme='dark'*", "FAILED (failures=1)"])
    result.stderr.fnmatch_lines(["Ran 4 tests in *"])
    assert "theme='light'" not in result.stderr.str()


def test_each_variant_of_a_test_case_runs_under_pytest(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
import unittest
from tidegate.testing import each_variant

seen = []

class Pages(unittest.TestCase):
    @each_variant("new-checkout")
    def test_page(self):
        seen.append(shop.page())

def test_both_were_seen():
    assert seen == ["old", "new"]
""",
    )
    assert result.ret == 0
