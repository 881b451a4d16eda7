"""The table of rules: every row is complete, has its place in the order of asking, and is shown by a probe."""

from collections import Counter
from dataclasses import fields, replace
from itertools import groupby

import pytest

from docs_tools.examples import EXAMPLES
from qtrain.export.lint.finding import SEVERITIES, Finding, Spot
from qtrain.export.lint.table import BY_ID, GRAPH_ORDER, MODULE_ORDER, RULES
from tests.export.lint.probes import PROBES

PLACES = ("module", "run", "file", "graph", "error")
# They are asked one by one, before there is a graph or where there is none.
BEFORE_THE_GRAPH = {"not-finite", "not-quantized", "average-pool"}
SHOWN = {rule for probe in PROBES.values() for rule in (probe.rule, *probe.also) if rule is not None}


def having(place: str) -> set[str]:
    return {rule.id for rule in RULES if getattr(rule, place) is not None}


def test_every_row_has_a_probe_and_every_probe_a_row() -> None:
    assert {*SHOWN, *EXAMPLES} == set(BY_ID)


@pytest.mark.parametrize("rule", EXAMPLES)
def test_lint_finds_in_each_example_what_it_shows(rule: str) -> None:
    (row,) = {(finding.rule, finding.severity) for finding in EXAMPLES[rule].ask() if finding.rule == rule}
    assert row == (rule, BY_ID[rule].severity)


@pytest.mark.parametrize("rule", RULES, ids=BY_ID)
def test_a_row_is_complete_and_somebody_looks(rule) -> None:  # type: ignore[no-untyped-def]
    assert all(getattr(rule, field.name) for field in fields(rule) if field.name not in PLACES)
    assert rule.severity in SEVERITIES
    assert not rule.looks_for.endswith(".")
    assert any(getattr(rule, place) for place in PLACES)


def test_ids_are_unique_and_topics_stand_together() -> None:
    assert len(BY_ID) == len(RULES)
    topics = [rule.topic for rule in RULES]
    assert len(list(groupby(topics))) == len(set(topics))


def test_every_rule_of_the_graph_is_asked_once() -> None:
    asked = Counter(rule for line in GRAPH_ORDER for rule in line)
    assert set(asked) == having("graph")
    assert set(asked.values()) == {1}


def test_every_rule_of_a_module_is_asked_once() -> None:
    assert len(set(MODULE_ORDER)) == len(MODULE_ORDER)
    assert {*MODULE_ORDER, *BEFORE_THE_GRAPH} == having("module")


def test_a_spot_takes_the_rows_words_unless_it_has_its_own() -> None:
    row = BY_ID["groups"]
    spot = Spot("conv1", "cannot reshape")
    expected = Finding("groups", "error", "conv1", "cannot reshape", row.step, row.mend)
    assert row.finding(spot) == expected
    own = replace(spot, mend="use one group", step="step_of_its_own")
    assert row.finding(own) == replace(expected, mend="use one group", step="step_of_its_own")
