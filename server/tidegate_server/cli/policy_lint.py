"""`tidegate policy lint`: print one line for each problem of a policy in a file."""

from __future__ import annotations

import time
from dataclasses import asdict

from tidegate_server.cli.exit_codes import USAGE
from tidegate_server.cli.formatting import count
from tidegate_server.cli.options import file_label, read_text
from tidegate_server.cli.output import print_json, print_text
from tidegate_server.documents.lint import Finding, lint


def lint_file(name: str, *, as_json: bool) -> int:
    """Print the problems of a policy; returns the exit status.

    Raises:
        Unreadable: the file is neither YAML nor JSON, or is ambiguous.
    """
    label = file_label(name)
    result = lint(read_text(name), label, now_ms=int(time.time() * 1_000))
    if as_json:
        print_json(
            {
                "sound": result.valid,
                "findings": [asdict(each) for each in result.findings],
                "hints": [asdict(each) for each in result.hints],
                "after_last_advance": [
                    {"check": each.number, "label": each.label, "watchers": each.watchers}
                    for each in result.watched
                ],
            }
        )
    else:
        for finding in result.findings:
            print_text(_finding_text(label, finding))
        for hint in result.hints:
            print_text(_finding_text(label, hint, "hint: "))
        for each in result.watched:
            print_text(f"After the last advance, {each.label} is watched by {each.text}.")
        print_text(_summary(label, result.findings))
    return 0 if result.valid else USAGE


def _finding_text(label: str, finding: Finding, kind: str = "") -> str:
    place = label if finding.line is None else f"{label}:{finding.line}"
    if finding.warning and not kind:
        kind = "warning: "
    return f"{place}: {finding.pointer or 'the whole document'}: {kind}{finding.detail}"


def _summary(label: str, findings: tuple[Finding, ...]) -> str:
    errors = sum(not finding.warning for finding in findings)
    warnings = len(findings) - errors
    result = f"has {count(errors, 'problem')}" if errors else "is valid"
    return f"{label} {result}{', ' + count(warnings, 'warning') if warnings else ''}."
