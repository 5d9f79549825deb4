"""`tidegate policy lint`: what is wrong with a policy in a file, a line for each problem."""

from __future__ import annotations

from dataclasses import asdict

from tidegate_server.cli.exit_codes import NOT_STARTED
from tidegate_server.cli.options import file_text, said
from tidegate_server.cli.output import print_json, say
from tidegate_server.documents.lint import Finding, lint


def lint_file(name: str, *, as_json: bool) -> int:
    """Look at a file and tell what was found; returns the exit status.

    Raises:
        Unreadable: it is neither YAML nor JSON, or has no single meaning.
    """
    what = said(name)
    linted = lint(file_text(name), what)
    if as_json:
        print_json({"sound": linted.sound, "findings": [asdict(each) for each in linted.findings]})
    else:
        for finding in linted.findings:
            say(_line(what, finding))
        say(_verdict(what, linted.findings))
    return 0 if linted.sound else NOT_STARTED


def _line(what: str, finding: Finding) -> str:
    place = what if finding.line is None else f"{what}:{finding.line}"
    kind = "warning: " if finding.warning else ""
    return f"{place}: {finding.pointer or 'the whole document'}: {kind}{finding.detail}"


def _verdict(what: str, findings: tuple[Finding, ...]) -> str:
    errors = sum(not finding.warning for finding in findings)
    warnings = len(findings) - errors
    told = f"; {warnings} warning{'s' if warnings > 1 else ''}" if warnings else ""
    if not errors:
        return f"{what} is a policy that can be carried out{told}."
    return f"{what} has {errors} problem{'s' if errors > 1 else ''}{told}."
