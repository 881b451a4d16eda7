"""The page of FINN's rules: each rule of lint, FINN's words, the mend, and the probes that the compiler was asked with.

Rules are those of lint's table. Probes are read from ``tests/export/lint/*probes.py`` as text, because the page shows
their code, and lint's words about each rule's example from ``results/lint_findings.jsonl``: so writing the page takes
seconds.
"""

import ast
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, groupby
from pathlib import Path
from typing import Any

from qtrain.export.lint.rule import Rule
from qtrain.export.lint.table import RULES

ROOT = Path(__file__).parents[1]
PROBE_FILES = ROOT / "tests" / "export" / "lint"
FINDINGS = ROOT / "results" / "lint_findings.jsonl"
_CODE_LINE = re.compile(r"\S+\.py:\d+")


@dataclass(frozen=True)
class ProbeText:
    """A probe as it stands in ``tests/export/lint/*probes.py``.

    Attributes:
        name: of the probe.
        code: expression that makes the network.
        accepted: whether FINN takes it.
        rules: lint's findings on it.
        layer: that the finding names.
        mended: name of the accepted twin.
    """

    name: str
    code: str
    accepted: bool
    rules: tuple[str, ...]
    layer: str
    mended: str


def read_probes() -> dict[str, ProbeText]:
    """Return the probes whose name is written out, by name."""
    trees = [ast.parse(path.read_text()) for path in sorted(PROBE_FILES.glob("*probes.py"))]
    found = {}
    for call in chain.from_iterable(map(ast.walk, trees)):
        kind = getattr(call.func, "id", "") if isinstance(call, ast.Call) else ""
        if isinstance(call, ast.Call) and kind in ("ok", "refused") and isinstance(call.args[0], ast.Constant):
            probe = _probe(call, accepted=kind == "ok")
            found[probe.name] = probe
    return found


def _probe(call: ast.Call, *, accepted: bool) -> ProbeText:
    values = dict(zip(("name", "make", "rule", "layer", "mended"), call.args, strict=False))
    values |= {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg}
    code = _made(values.pop("make"))
    plain: dict[str, Any] = {name: ast.literal_eval(value) for name, value in values.items()}
    rules = (plain.get("rule"), *plain.get("also", ()))
    return ProbeText(
        plain["name"],
        code,
        accepted,
        tuple(rule for rule in rules if rule),
        plain.get("layer") or "the network",
        plain.get("mended") or "",
    )


def _made(make: ast.expr) -> str:
    """Return the expression that makes a network: of a lambda its body, of a partial the call."""
    if isinstance(make, ast.Lambda):
        return ast.unparse(make.body)
    if isinstance(make, ast.Call) and getattr(make.func, "id", "") == "partial":
        return ast.unparse(ast.Call(make.args[0], make.args[1:], make.keywords))
    return f"{ast.unparse(make)}()"


# --- The page --------------------------------------------------------------------------------------------------------


def rules_table() -> str:
    """Return a table of all rules, one row a rule."""
    lines = ["| rule | severity | what lint looks for |", "| --- | --- | --- |"]
    lines += [f"| [`{rule.id}`](#{rule.id}) | {rule.severity} | {rule.looks_for} |" for rule in RULES]
    return "\n".join(lines)


def rules_by_topic() -> str:
    """Return a section for each topic, and in it a section for each rule."""
    probes = read_probes()
    recorded = recorded_findings()
    parts = []
    for topic, rules in groupby(RULES, key=lambda rule: rule.topic):
        parts.append(f"## {topic}")
        parts += [_rule(rule, recorded[rule.id], probes) for rule in rules]
    return "\n\n".join(parts)


def _rule(rule: Rule, found: dict[str, str], probes: dict[str, ProbeText]) -> str:
    """Return the section of a rule: what it looks for, lint's words about an example, and the probes."""
    lines = [f"### `{rule.id}`", f"{rule.severity.capitalize()}. {rule.looks_for}.", _words(found)]
    asked = [probe for probe in probes.values() if rule.id in probe.rules]
    if asked:
        rows = [f"| {_code(p)} | `{p.layer}` | {_twin(p, probes)} |" for p in asked]
        lines.append("\n".join(["| probe | lint names | FINN takes instead |", "| --- | --- | --- |", *rows]))
    if "code" in found:
        lines.append(f"```python\n{found['code']}\n```")
    return "\n\n".join(lines)


def _words(found: dict[str, str]) -> str:
    """Return lint's finding on the example, as its report says it."""
    return f"- in `{found['layer']}`, FINN: {found['says']}\n- where: {found['step']}\n- mend: {found['mend']}"


def _code(probe: ProbeText) -> str:
    return f"`{probe.code}`"


def _twin(probe: ProbeText, probes: dict[str, ProbeText]) -> str:
    return _code(probes[probe.mended]) if probe.mended else "the probe itself, on finn-plus" * probe.accepted


def base_network() -> str:
    """Return the network, as code, from which every probe differs in one layer."""
    text = (PROBE_FILES / "probe_networks.py").read_text()
    wanted = ("conv", "linear", "relu", "identity", "norm", "net", "pooled")
    nodes = [n for n in ast.parse(text).body if isinstance(n, ast.FunctionDef) and n.name in wanted]
    return "```python\n" + "\n\n\n".join(str(ast.get_source_segment(text, node)) for node in nodes) + "\n```"


# --- The record ------------------------------------------------------------------------------------------------------


def recorded_findings() -> dict[str, dict[str, str]]:
    """Return what lint said of each rule's example, by rule."""
    return {record["rule"]: record for record in map(json.loads, FINDINGS.read_text().splitlines())}


def record_findings() -> None:
    """Ask lint about one example of every rule, and write what it says."""
    FINDINGS.write_text("".join(json.dumps(record) + "\n" for record in findings(tuple(rule.id for rule in RULES))))


def findings(rules: tuple[str, ...]) -> Iterator[dict[str, str]]:
    """Yield lint's finding of each rule on its first probe, or on its example where no probe has it alone."""
    from docs_tools.examples import EXAMPLES  # brings torch and the probes
    from qtrain.export.lint.check import Finding, lint_module
    from tests.export.lint.probes import PROBES

    for rule in rules:
        code = ""
        if rule in EXAMPLES:
            ask: Callable[[], tuple[Finding, ...]] = EXAMPLES[rule].ask
            code, found = EXAMPLES[rule].code, ask()
        else:
            probe = next(p for p in PROBES.values() if rule == p.rule)
            found = lint_module(probe.make(), probe.shape)
        first = next(finding for finding in found if finding.rule == rule)
        record = {"rule": rule, "layer": first.layer, "says": _CODE_LINE.sub("my_module.py:12", first.says)}
        yield record | {"step": first.step, "mend": first.mend} | ({"code": code} if code else {})
