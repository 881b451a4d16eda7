"""`qtrain models`: the zoo's table, a network's layers, counts, and that what it says of FINN is what was recorded."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from docs_tools import finn_pages
from qtrain.experiments.zoo import count_sizes, recorded_verdicts, shipped_sizes, verdict_of
from qtrain.models import FAMILIES, build_model
from qtrain.models.count import count
from tests.own_networks import write_net


def test_counts_of_cnv_are_those_one_can_work_out() -> None:
    sizes = count(build_model("CNV_1W2A"), (3, 32, 32))
    first, *_, last = sizes.layers
    assert (first.path, first.weights, first.macs, first.output) == ("conv1", 27 * 64, 27 * 64 * 30 * 30, (64, 30, 30))
    assert (last.path, last.weights, last.macs, last.weight_bits) == ("fc3", 5120, 5120, 1)
    assert sizes.weight_bits == 1_542_848
    positions = {
        "conv1": 900,
        "conv2": 784,
        "conv3": 144,
        "conv4": 100,
        "conv5": 9,
        "conv6": 1,
        "fc1": 1,
        "fc2": 1,
        "fc3": 1,
    }
    assert {layer.path: layer.macs // layer.weights for layer in sizes.layers} == positions


def test_without_weights_the_counts_are_the_same() -> None:
    with torch.device("meta"):
        bare = build_model("RESNET20_FLOAT")
    assert all(p.is_meta for p in bare.parameters())
    assert count(bare, (3, 32, 32)) == count(build_model("RESNET20_FLOAT"), (3, 32, 32))


def test_every_published_accuracy_has_a_source_that_can_be_looked_up() -> None:
    published = [p for family in FAMILIES.built_in.values() for p in family.published]
    assert len(published) > 10
    assert all("/" in p.source or "." in p.source for p in published)  # a repository, a module or an arXiv number


def test_counting_leaves_the_network_as_it_was() -> None:
    model = build_model("RESNET20_4W4A", width=0.5).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    count(model, (3, 32, 32))
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_table_names_every_family_with_sizes_and_sources(cli: Callable) -> None:
    outcome = cli("models")
    assert (outcome.status, outcome.err) == (0, "")
    for name, family in FAMILIES.built_in.items():
        assert f"{name} " in outcome.out
        assert all(f"{published.accuracy:.2f} %" in outcome.out for published in family.published)
    assert "26.8" not in outcome.out  # sizes are at width 1
    rows = json.loads(cli("models", "--json").out)
    assert [row["network"] for row in rows] == list(FAMILIES.built_in)
    by_name = {row["network"]: row for row in rows}
    assert by_name["RESNET50"]["parameters"] == 25_557_032
    assert 4.0e9 < by_name["RESNET50"]["macs"] < 4.2e9  # He et al.: 3.8 G for stride in the 1x1, 4.1 G in the 3x3
    assert by_name["RESNET18"]["macs"] == 555_422_720  # kuangliu/pytorch-cifar: 0.56 G


@pytest.mark.parametrize("columns", ["80", "200"])
def test_the_table_fits_the_terminal(cli: Callable, monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich then takes the output for a terminal
    monkeypatch.setenv("COLUMNS", columns)
    table = re.sub("\x1b\\[[0-9;]*m", "", cli("models").out).partition("Sizes at")[0].splitlines()
    assert "CNV" in " ".join(table)
    assert max(map(len, table)) <= int(columns)
    assert ("published top-1" in table[0]) is (columns == "200")


def test_a_part_of_a_name_filters_and_a_family_is_told_of(cli: Callable) -> None:
    rows = json.loads(cli("models", "resnet", "--json").out)
    assert [row["network"] for row in rows] == [name for name in FAMILIES.names() if "RESNET" in name]
    listed = cli("models", "wrn").out
    assert "WRN20_PAPER" in listed
    assert "CNV " not in listed
    told = cli("models", "cnv").out
    assert told.startswith("CNV\n")
    for part in ("59.46 M", "accepted at 1, 2, 3, 4, 6, 8 bits", "84.22 % 1W1A", "cifar10, cifar100, digits, gtsrb"):
        assert part in told


def test_a_network_s_layers_are_listed_with_their_bits(cli: Callable) -> None:
    outcome = cli("models", "resnet20-w4a2", "--width", "0.5", "--bits", "first=8,stage2.*=1w3a")
    assert outcome.status == 0
    assert "RESNET20_4W2A" in outcome.out
    assert "stage2.block1.act1=3" in outcome.out
    found = json.loads(cli("models", "RESNET20_4W2A", "--json").out)
    assert found["layers"][0]["path"] == "conv1"
    assert found["activations"]["stage1.block1.sum"] == 4


def test_the_layers_of_ones_own_network_are_listed_for_its_data(
    cli: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_net(tmp_path)
    found = json.loads(cli("models", "own_net.py:Net", "--bits", "4,fc=2", "--data", "digits", "--json").out)
    assert found["network"] == "own_net.py:Net_4W4A"
    assert [(layer["path"], layer["weight_bits"]) for layer in found["layers"]] == [("conv", 4), ("fc", 2)]
    assert found["activations"] == {"inp": 8, "act": 4}
    outcome = cli("models", "own_net.py:Net_4W4A", "--input-shape", "1,8,8", "--net-args", "{channels_out: 4}")
    assert "4x8x8" in outcome.out
    refused = cli("models", "own_net.py:Net_4W4A", "--net-args", "{depth: 4}")
    assert refused.status == 2
    assert "has no argument 'depth'" in refused.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["FOO_1W1A"], "unknown network 'FOO_1W1A'"),
        (["resnet", "--data", "digits"], "name a network for --data, for instance: qtrain models RESNET18_1W1A"),
        (["CNV_1W1A", "--net-args", "{a: 1}"], "net_args are for a network of your own, and CNV_1W1A is qtrain's"),
        (["CNV_1W1A", "--data", "digits", "--input-shape", "1,8,8"], "the data say the shape of an input; leave out"),
        (["CVN"], "'CVN' is not a network name"),
        (["CNV_1W1A", "--bits", "stage2.*=4"], "'stage2.*' names no such quantizer of CNV_1W1A"),
        (["--bits", "first=8"], "name a network for --bits"),
        (["DENSENET40_1W1A"], "comes in float only"),
        (["CNV_1W1A", "--scaling", "free"], "scaling must be one of"),
        (["CNV_FLOAT", "--input-bits", "4"], "input_bits 4 means nothing to CNV_FLOAT"),
        (["CNV_1W1A", "--bits", "first=4a"], "'first' has weights only in CNV_1W1A"),
    ],
)
def test_wrong_inputs_are_one_line(cli: Callable, words: list[str], message: str) -> None:
    outcome = cli("models", *words)
    assert outcome.status == 2
    assert message in outcome.err
    assert outcome.err.count("\n") == 1


def test_the_shipped_verdicts_and_the_page_are_rendered_from_the_records() -> None:
    records = finn_pages.newest(finn_pages.MATRIX)
    assert json.loads(finn_pages.VERDICTS.read_text()) == finn_pages.verdicts(records)
    assert finn_pages.matrix(records) in finn_pages.PAGE.read_text()


def test_lint_and_the_compiler_agree_on_every_recorded_cell() -> None:
    records = finn_pages.newest(finn_pages.MATRIX)
    assert len(records) >= 60
    assert not [r["network"] for r in records if bool(r["lint_errors"]) == r["accepted"]]
    proven = [r["proof"] for r in records if r["accepted"]]
    assert all(p["equal"] == p["images"] for p in proven)


def test_a_cell_where_they_disagree_would_be_shown() -> None:
    record = dict(finn_pages.newest(finn_pages.MATRIX)[0], accepted=False, lint_errors=[], reason="FINN failed")
    assert "**?** FINN failed" in finn_pages.matrix([record])


def test_cells_of_other_sizes_and_classes_have_rows_of_their_own_and_share_a_verdict() -> None:
    first = next(r for r in finn_pages.newest(finn_pages.MATRIX) if r["network"] == "CNV_2W2A")
    signs = dict(first, num_classes=43)
    signal = dict(first, family="VGG10_RADIOML", num_classes=24, image_size=[1024, 1], in_channels=2, width=1.0)
    shown = finn_pages.matrix([first, signs, signal])
    assert "| CNV | 0.25, 32 |" in shown
    assert "| CNV, 43 classes | 0.25, 32 |" in shown
    assert "| VGG10_RADIOML | 1, 2x1024x1 |" in shown
    assert finn_pages.verdicts([first, signs])["families"]["CNV"]["accepted"] == [2]
    refused = dict(signs, accepted=False, lint_errors=["groups: conv1"])
    found = finn_pages.verdicts([first, refused])["families"]["CNV"]
    assert (found["accepted"], found["refused"]) == ([], {"2": "groups: conv1"})


def test_the_shipped_sizes_are_those_of_the_networks() -> None:
    assert shipped_sizes() == {name: count_sizes(name) for name in FAMILIES.built_in}


def test_a_verdict_in_words() -> None:
    assert verdict_of("DENSENET40") == "float only"
    assert verdict_of("CNV").startswith("accepted at 1, 2")
    assert verdict_of("WRN20_PAPER").startswith("refused at 1, 2")
    assert set(recorded_verdicts()) <= set(FAMILIES.built_in)
    assert Path(finn_pages.VERDICTS).is_file()
