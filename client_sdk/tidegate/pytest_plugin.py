"""A pytest fixture and a marker that set flags. Pytest loads this plugin by itself.

::

    def test_checkout(flags):
        flags(new_checkout=True)
        ...
        flags.asked.assert_asked("new-checkout")

    @pytest.mark.flags(new_checkout=True)
    def test_checkout(): ...

With ``tidegate_strict = true`` in pytest's configuration, a test that uses one of them fails if
the application asks for a flag that the test does not set.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tidegate.testing import Asked

MARKER = "flags(mapping=None, /, *, strict=False, **values): set Tidegate flags for a test"


class Flags:
    """Sets flags until the test ends.

    Attributes:
        asked: the evaluations so far.
    """

    def __init__(self, stack: ExitStack, strict: bool) -> None:
        from tidegate.testing import flags

        self._stack = stack
        self.asked: Asked = stack.enter_context(flags(strict=strict))

    def __call__(
        self,
        mapping: Mapping[str, Any] | None = None,
        /,
        *,
        strict: bool = False,
        everywhere: bool = False,
        **values: Any,
    ) -> Asked:
        """Set flags until the test ends, in addition to those set before."""
        from tidegate.testing import flags

        return self._stack.enter_context(
            flags(mapping, strict=strict, everywhere=everywhere, **values)
        )


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the setting ``tidegate_strict``."""
    parser.addini(
        "tidegate_strict",
        "fail a test if the application asks for a flag that the test does not set",
        type="bool",
        default=False,
    )


def pytest_configure(config: pytest.Config) -> None:
    """Add the marker ``flags``."""
    config.addinivalue_line("markers", MARKER)


@pytest.fixture(name="flags")
def flags_fixture(pytestconfig: pytest.Config) -> Iterator[Flags]:
    """Set Tidegate flags for a test, and check which the application asked for."""
    with ExitStack() as stack:
        yield Flags(stack, bool(pytestconfig.getini("tidegate_strict")))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make a test for each variant of the flags that ``each_variant`` names."""
    variants: Mapping[str, tuple[Any, ...]] = getattr(metafunc.function, "tidegate_variants", {})
    if variants:
        combinations = [
            dict(zip(variants, values, strict=True)) for values in product(*variants.values())
        ]
        metafunc.parametrize(
            "_marked_flags",
            combinations,
            indirect=True,
            ids=[
                ", ".join(f"{key}={value!r}" for key, value in each.items())
                for each in combinations
            ],
        )


@pytest.fixture(autouse=True)
def _marked_flags(request: pytest.FixtureRequest) -> Iterator[None]:
    marks = list(request.node.iter_markers("flags"))
    chosen: Mapping[str, Any] = getattr(request, "param", {})
    if not marks and not chosen:
        yield
        return
    from tidegate.testing import chosen_variants, flags

    with ExitStack() as stack:
        if request.config.getini("tidegate_strict"):
            stack.enter_context(flags(strict=True))
        for mark in reversed(marks):  # the nearest one wins
            stack.enter_context(flags(*mark.args, **mark.kwargs))
        if chosen:
            stack.enter_context(flags(chosen))
            stack.callback(chosen_variants.reset, chosen_variants.set(frozenset(chosen)))
        yield
