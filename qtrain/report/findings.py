"""Lint's findings on the terminal."""

from collections import Counter
from collections.abc import Mapping, Sequence

from qtrain.report.console import plain_text, report_console
from qtrain.report.table import print_notes

WARNING = "bold yellow"
STYLES = {"error": "bold red", "warning": WARNING, "note": "dim"}


def summary(findings: Sequence[Mapping[str, str]]) -> tuple[str, str]:
    """Return the verdict as a sentence, and its style.

    Args:
        findings: the fields of ``qtrain.export.lint.finding.Finding``.
    """
    count = Counter(finding["severity"] for finding in findings)
    counted = [_counted(count[severity], severity) for severity in ("error", "warning") if count[severity]]
    if count["error"]:
        return f"{' and '.join(counted)}: FINN does not take this network yet.", "bold red"
    if any(finding["rule"] == "frozen-branch" for finding in findings):
        return f"{counted[0]}, no errors: the exported network computes otherwise than torch on some images.", WARNING
    if count["warning"]:
        return f"{counted[0]}, no errors: finn-plus takes this network, official FINN perhaps not.", WARNING
    return "No errors, no warnings: FINN takes every part of this network.", "bold green"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def print_findings(findings: Sequence[Mapping[str, str]]) -> None:
    """Print each finding with its mend, and the verdict.

    Args:
        findings: the fields of ``qtrain.export.lint.finding.Finding``.
    """
    console = report_console()
    for finding in findings:
        head = f"{finding['severity']}: {finding['layer']} [{finding['rule']}]"
        console.print(plain_text(head, console, STYLES[finding["severity"]]), soft_wrap=True)
        lines = [f"  FINN: {finding['says']} ({finding['step']})", f"  mend: {finding['mend']}"]
        print_notes(dict.fromkeys(lines, ""), console)
    sentence, style = summary(findings)
    console.print(plain_text(sentence, console, style), soft_wrap=True)
