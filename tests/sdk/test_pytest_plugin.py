"""The plugin in separate test runs, as authors of an application use it."""

from __future__ import annotations

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
