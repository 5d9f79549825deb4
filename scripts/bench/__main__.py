"""Run benchmarks and print their results and limits; the exit code is 1 if one is exceeded."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
from collections.abc import Sequence
from pathlib import Path

from scripts.bench.measure import (
    BENCHMARKS,
    SHARES,
    Quantiles,
    Ratio,
    Result,
    format_table,
    format_time,
)

RATIO_HEADING = ("group", "measured", "value", "baseline", "value", "ratio", "limit", "")
QUANTILES_HEADING = ("group", "measured", "n", *(f"{share} %" for share in SHARES))


def load() -> None:
    """Import every public module of this folder, which registers its benchmarks."""
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        if not module.name.startswith("_"):
            importlib.import_module(f"scripts.bench.{module.name}")


def main(arguments: Sequence[str]) -> int:
    """Return 0 if every ratio is within its limit, else 1."""
    load()
    parser = argparse.ArgumentParser(prog="scripts/bench/all", description=__doc__)
    parser.add_argument("group", nargs="*", metavar="GROUP", help=", ".join(BENCHMARKS))
    parser.add_argument("--list", action="store_true", help="list the groups and exit")
    options = parser.parse_args(arguments)
    if options.list:
        print("\n".join(BENCHMARKS))
        return 0
    unknown = [group for group in options.group if group not in BENCHMARKS]
    if unknown:
        parser.error(f"there is no group {unknown[0]!r}; the groups: {', '.join(BENCHMARKS)}")

    results: list[tuple[str, Result]] = []
    for group in options.group or BENCHMARKS:
        for run in BENCHMARKS[group]:
            print(f"{group}: {(run.__doc__ or run.__name__).splitlines()[0]} ...", flush=True)
            results += [(group, result) for result in run()]
    print()
    _print_results(results)
    return 0 if all(each.within_limit for _, each in results if isinstance(each, Ratio)) else 1


def _print_results(results: Sequence[tuple[str, Result]]) -> None:
    ratios = [_ratio_row(group, each) for group, each in results if isinstance(each, Ratio)]
    quantiles = [
        _quantiles_row(group, each) for group, each in results if isinstance(each, Quantiles)
    ]
    if quantiles:
        print(format_table([QUANTILES_HEADING, *quantiles]), end="\n\n")
    if ratios:
        print(format_table([RATIO_HEADING, *ratios]))


def _ratio_row(group: str, result: Ratio) -> tuple[str, ...]:
    measured = (result.name, result.format(result.value))
    baseline = (result.baseline, result.format(result.baseline_value))
    limit = verdict = ""
    if result.limit is not None:
        limit = f"{result.limit:g}"
        verdict = "ok" if result.within_limit else "TOO HIGH"
    return (group, *measured, *baseline, f"{result.ratio:.2f}", limit, verdict)


def _quantiles_row(group: str, result: Quantiles) -> tuple[str, ...]:
    quantiles = (format_time(result.at(share)) for share in SHARES)
    return (group, result.name, str(len(result.seconds)), *quantiles)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
