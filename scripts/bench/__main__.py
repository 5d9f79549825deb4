"""Runs the benchmarks named, or all, and prints what they found beside the limits."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
from collections.abc import Sequence
from pathlib import Path

from scripts.bench.measure import BENCHMARKS, SHARES, Found, Quantiles, Ratio, shown, table

RATIOS = ("group", "measured", "time", "floor", "time", "ratio", "limit", "")
QUANTILES = ("group", "measured", "n", *(f"{share} %" for share in SHARES))


def load() -> None:
    """Import every module of this folder, so that its benchmarks are known."""
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        if not module.name.startswith("_"):
            importlib.import_module(f"scripts.bench.{module.name}")


def main(arguments: Sequence[str]) -> int:
    """Return 0 when every limit was kept."""
    load()
    parser = argparse.ArgumentParser(prog="scripts/bench/all", description=__doc__)
    parser.add_argument("group", nargs="*", metavar="GROUP", help=", ".join(BENCHMARKS))
    parser.add_argument("--list", action="store_true", help="name the groups and end")
    asked = parser.parse_args(arguments)
    if asked.list:
        print("\n".join(BENCHMARKS))
        return 0
    unknown = [group for group in asked.group if group not in BENCHMARKS]
    if unknown:
        parser.error(f"there is no group {unknown[0]!r}; there are: {', '.join(BENCHMARKS)}")

    found: list[tuple[str, Found]] = []
    for group in asked.group or BENCHMARKS:
        for run in BENCHMARKS[group]:
            print(f"{group}: {(run.__doc__ or run.__name__).splitlines()[0]} ...", flush=True)
            found += [(group, each) for each in run()]
    print()
    _show(found)
    return 0 if all(each.kept for _, each in found if isinstance(each, Ratio)) else 1


def _show(found: Sequence[tuple[str, Found]]) -> None:
    ratios = [_ratio(group, each) for group, each in found if isinstance(each, Ratio)]
    quantiles = [_quantiles(group, each) for group, each in found if isinstance(each, Quantiles)]
    if quantiles:
        print(table([QUANTILES, *quantiles]), end="\n\n")
    if ratios:
        print(table([RATIOS, *ratios]))


def _ratio(group: str, each: Ratio) -> tuple[str, ...]:
    limit = "" if each.limit is None else f"{each.limit:g}"
    verdict = "" if each.limit is None else "ok" if each.kept else "TOO SLOW"
    times = (each.name, each.shown(each.seconds), each.floor, each.shown(each.floor_seconds))
    return (group, *times, f"{each.ratio:.2f}", limit, verdict)


def _quantiles(group: str, each: Quantiles) -> tuple[str, ...]:
    shares = (shown(each.at(share)) for share in SHARES)
    return (group, each.name, str(len(each.seconds)), *shares)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
