"""Lint's findings on the terminal."""

from collections import Counter
from collections.abc import Mapping, Sequence

from qtrain.report.tables import _console, _text

WARNING = "bold yellow"
STYLES = {"error": "bold red", "warning": WARNING, "note": "dim"}


def summary(findings: Sequence[Mapping[str, str]]) -> tuple[str, str]:
    """Return the verdict as a sentence, and its style.

    Args:
        findings: the fields of ``qtrain.export.lint.finding.Finding``.
    """
    count = Counter(finding["severity"] for finding in findings)
    counted = [f"{n} {kind}{'s' if n > 1 else ''}" for kind in ("error", "warning") if (n := count[kind])]
    if count["error"]:
        return f"{' and '.join(counted)}: FINN does not take this network yet.", "bold red"
    if any(finding["rule"] == "frozen-branch" for finding in findings):
        return f"{counted[0]}, no errors: the exported network computes otherwise than torch on some images.", WARNING
    if count["warning"]:
        return f"{counted[0]}, no errors: finn-plus takes this network, official FINN perhaps not.", WARNING
    return "No errors, no warnings: FINN takes every part of this network.", "bold green"


def print_findings(findings: Sequence[Mapping[str, str]]) -> None:
    """Print each finding with its mend, and the verdict.

    Args:
        findings: the fields of ``qtrain.export.lint.finding.Finding``.
    """
    console = _console()
    for finding in findings:
        head = f"{finding['severity']}: {finding['layer']} [{finding['rule']}]"
        console.print(_text(head, console, STYLES[finding["severity"]]), soft_wrap=True)
        rows = {"FINN": f"{finding['says']} ({finding['step']})", "mend": finding["mend"]}
        for name, text in rows.items():  # a pipe gets each as one line
            console.print(_text(f"  {name}: {text}", console), soft_wrap=not console.is_terminal)
    sentence, style = summary(findings)
    console.print(_text(sentence, console, style), soft_wrap=True)
