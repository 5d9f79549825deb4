"""Generated Python programs that ask for flags, and what they do when they run."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from random import Random
from typing import Any

from hypothesis import strategies as st

SWITCH, THEME = "new-checkout", "theme"

SWITCHES = (
    'client.boolean("new-checkout", False)',
    "client.boolean(KEY, False, a)",
    'client.boolean_details("new-checkout", False).value',
    'client.boolean(\n        "new-checkout",  # the new one\n        False,\n    )',
)
THEMES = ('client.string("theme", "plain")', 'client.string("theme", "plain", Context(a, plan=b))')

ATOMS = (
    *SWITCHES,
    *(f"not {switch}" for switch in SWITCHES),
    *(f"({switch}) is True" for switch in SWITCHES[:1]),
    *(f'{theme} == "dark"' for theme in THEMES),
    *(f'{theme} in ("dark", "light")' for theme in THEMES),
    *("a", "b", "True", "0", '""', "x is None"),
)


class Writer:
    """Writes a program by chance."""

    def __init__(self, random: Random) -> None:
        self._random = random

    def program(self) -> str:
        """Return a program whose function ``main`` has two parameters."""
        body = self._block(2)
        header = 'from tidegate import Context\n\nKEY = "new-checkout"\n\n\n'
        return f"{header}def main(a, b):\n    x = None\n{body}\n"

    def _expression(self, depth: int = 2) -> str:
        choice = self._random.choice
        if depth == 0 or self._random.random() < 0.4:
            return choice((*ATOMS, f"test({self._random.randrange(99)})"))
        inner = [self._expression(depth - 1) for _ in range(3)]
        operator = choice((" and ", " or "))
        return choice(
            (
                f"not ({inner[0]})",
                f"bool({inner[0]})",
                operator.join(f"({each})" for each in inner[: choice((2, 3))]),
                operator.join(self._expression(0) for _ in range(choice((2, 3, 4)))),
                f"({inner[0]}) if {inner[1]} else {inner[2]}",
                f"(v := ({inner[0]})) or {inner[1]}",
                f"(\n        {inner[0]}  # why\n        {operator}{ATOMS[0]}  # and\n    )",
            )
        )

    def _statement(self, depth: int) -> str:
        if depth > 0 and self._random.random() < 0.5:
            return self._compound(depth - 1)
        choice = self._random.choice
        name = choice("vxyz")
        return choice(
            (
                f"log({self._random.randrange(99)})",
                f"log({self._expression()})",
                f"log({name})",
                f"{name} = {self._expression()}",
                f"{name} = {choice(SWITCHES)}",
                f"{name}: object = {choice(THEMES)}",
                f"if {name}: log(1); log(2)\nelse: log(3)",
                f"return {self._expression()}",
                choice(SWITCHES),
                "# a comment",
                "",
                'log("""two\n      lines""")',
                choice(("yield 1", "global g; g = 1", "pass", f"del {name}", "return")),
                f"context = Context(a)\nlog(client.boolean(KEY, True, context)); log({name})",
            )
        )

    def _block(self, depth: int, indent: str = "    ") -> str:
        body = "\n".join(self._statement(depth) for _ in range(self._random.randrange(1, 4)))
        if all(not line.strip() or line.strip().startswith("#") for line in body.split("\n")):
            body += "\npass"
        # The lines inside of a text keep their indentation.
        return textwrap.indent(body, indent, lambda line: not line.startswith("      lines"))

    def _compound(self, depth: int) -> str:
        choice = self._random.choice
        test = choice((self._expression(), choice(SWITCHES), "x", "y"))
        block, other = self._block(depth), self._block(depth)
        deep, deeper = self._block(depth, " " * 8), self._block(depth, " " * 8)
        return choice(
            (
                f"if {test}:\n{block}",
                f"if {test}:  # which\n{block}\nelse:  # or\n{other}\n    # the end of it",
                f"if {test}:\n{block}\nelif {self._expression()}:\n{other}\n    # the end",
                f"if {self._expression()}:\n{block}\nelif {test}:\n{other}\n"
                f"elif {self._expression()}:\n    log(4)\nelse:\n{self._block(depth)}",
                f"for i in range(2):\n{block}\n    if test(i): break\n    continue",
                f"for i in range(2):\n{block}\nelse:\n{other}",
                f"try:\n{block}\nexcept ValueError:\n{other}\nfinally:\n{self._block(depth)}",
                f"def f():\n{block}\nlog(f)\nlog(f())",
                f"class C:\n    n = 1\n    def m(self):\n{deep}\nlog(C().m())",
                f"match {choice(THEMES)}:\n    case 'dark' | 'black':\n{deep}\n"
                f"    case _:\n{deeper}",
                f"while {choice(SWITCHES)} and more() and {test}:\n{block}\nelse:\n{other}",
                f"while {choice(SWITCHES)}:\n{block}\n    if not more(): break\nelse:\n{other}",
            )
        )


programs = st.randoms(use_true_random=False).map(lambda random: Writer(random).program())


@dataclass(frozen=True)
class FixedClient:
    """Serves fixed values of the two flags."""

    switch: bool
    theme: str

    def boolean(self, key: str, default: bool, context: object = None) -> bool:
        """Return the switch."""
        assert key == SWITCH
        return self.switch

    def string(self, key: str, default: str, context: object = None) -> str:
        """Return the theme."""
        assert key == THEME
        return self.theme

    def boolean_details(self, key: str, default: bool, context: object = None) -> Any:
        """Return the switch with a variant."""

        class Details:
            value = self.switch

        return Details


def behaviour(program: str, client: FixedClient | None, a: object, b: object) -> list[object]:
    """Run a program, and return all that it does that can be seen."""
    done: list[object] = []
    rounds = iter(range(3))

    def note(value: object) -> None:
        plain = isinstance(value, str | int | None)
        done.append(value if plain else type(value))

    def test(number: int) -> bool:
        done.append(("test", number))
        return number % 3 == 0

    names: dict[str, Any] = {
        "client": client,
        "log": note,
        "test": test,
        "more": lambda: next(rounds, None) is not None,
        "Context": lambda *args, **others: None,
    }
    exec(compile(program, "program", "exec"), names)
    try:
        result = names["main"](a, b)
        done.append(type(result) if hasattr(result, "__next__") else result)
        if hasattr(result, "__next__"):
            done.extend(result)
    except Exception as error:
        done.append((type(error), str(error)))
    done.append(names.get("g"))
    return done
