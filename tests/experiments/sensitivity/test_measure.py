"""Sensitivity: one quantizer narrowed at a time, the same to the bit each time, gone on with after any stop."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from qtrain.errors import UserError
from qtrain.experiments.fit.compiled import questions
from qtrain.experiments.run import train_recipe
from qtrain.experiments.sensitivity import measure as sensitivity
from qtrain.experiments.sensitivity.measure import Bench, measured, wanted
from qtrain.experiments.sensitivity.structure import Layer, Structure, structure_of, without_refused
from qtrain.experiments.sensitivity.traces import traces
from qtrain.experiments.start import read_start
from qtrain.interrupt import Interrupted
from qtrain.recipe import Recipe
from qtrain.records.fit import Sensitivity, SensitivityFile
from qtrain.training.context import RunContext
from tests.own_networks import write_net


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tiny: Callable[..., Recipe]) -> tuple[Recipe, Path, Structure]:
    recipe = tiny(network="TFC_8W8A", epochs=1)
    folder = tmp_path_factory.mktemp("fit") / "run"
    train_recipe(recipe, folder)
    return recipe, folder, structure_of(recipe, "TFC", None)


def test_a_network_without_branches_is_a_chain(run: tuple[Recipe, Path, Structure]) -> None:
    _, _, structure = run
    assert structure.weights == ("fc1", "fc2", "fc3", "fc4")
    assert structure.activations == ("act1", "act2", "act3")
    assert structure.fixed == {"input": 8}
    assert structure.layers["fc2"] == Layer("fc2", "act1", ("act2",), ())
    assert structure.layers["fc4"].sinks == ()
    assert structure.expression({**structure.widest(), "fc2": 1, "act3": 4}) == "fc2=1,act3=4"


@pytest.mark.slow
def test_a_residual_sum_is_behind_both_branches() -> None:
    recipe = Recipe("RESNET20_8W8A", data="digits", width=0.125)
    structure = structure_of(recipe, "RESNET20", None)
    layer = structure.layers["stage2.block1.shortcut.conv"]
    assert layer.source == structure.layers["stage2.block1.conv1"].source == "stage1.block3.act2"
    assert layer.sinks == structure.layers["stage2.block1.conv2"].sinks == ("stage2.block1.sum",)
    assert "stage2.block1.act2" in layer.beyond
    assert "input" not in structure.activations


@pytest.mark.slow
def test_every_quantizer_is_narrowed_alone_and_again_to_the_bit(
    run: tuple[Recipe, Path, Structure], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, folder, structure = run
    monkeypatch.setattr(sensitivity, "NORM_IMAGES", 40)
    asked: list[str] = []

    def stop() -> bool:  # in the middle, before the fourth
        asked.append("")
        return len(asked) == 4

    with pytest.raises(Interrupted):
        measured(recipe, folder, structure, (2, 8), tmp_path, RunContext(stop=stop))
    left = SensitivityFile.read(tmp_path)
    assert len(left.entries) == 3
    assert not left.complete
    found = measured(recipe, folder, structure, (2, 8), tmp_path, RunContext())
    assert found.entries[0].change == left.entries[0].change
    assert [(one.path, one.kind, one.bits) for one in found.entries] == list(wanted(structure, (2, 8)))
    (tmp_path / "again").mkdir()
    whole = measured(recipe, folder, structure, (2, 8), tmp_path / "again", RunContext())
    assert whole.entries == found.entries
    assert all(one.moved > 0 for one in found.entries)
    assert all(one.estimate is not None for one in found.entries)
    assert found.rank_correlation is not None
    assert -1 <= found.rank_correlation <= 1


def test_a_change_is_that_of_the_network_a_candidate_begins_with(run: tuple[Recipe, Path, Structure]) -> None:
    recipe, folder, _ = run
    bench = Bench(recipe, folder, RunContext())
    narrow = bench.network("fc2=1")
    assert int(narrow.get_submodule("fc2").weight_quant.bit_width()) == 1  # type: ignore[operator, union-attr]
    assert int(narrow.get_submodule("fc3").weight_quant.bit_width()) == 8  # type: ignore[operator, union-attr]
    images, labels = bench.first_images()
    logits = [bench.loss(narrow(images), labels), bench.loss(bench.network("")(images), labels)]
    assert logits[0] != logits[1]


class _Square(nn.Module):
    """A layer whose loss has the Hessian 2 * diag(1, 4, 9)."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return (self.fc.weight * torch.tensor([1.0, 2.0, 3.0])).square().sum() + 0 * x.sum()


def test_hutchinsons_trace_is_exact_for_a_diagonal_hessian() -> None:
    structure = Structure(("fc",), (), {}, {})
    found = traces(_Square(), torch.zeros(1), torch.zeros(1), lambda y, _: y, structure)
    assert found["fc"] == pytest.approx(28.0)


def test_the_file_says_what_was_damaged(run: tuple[Recipe, Path, Structure], tmp_path: Path) -> None:
    SensitivityFile(weights="0", images=1, norm_images=1, loss=0.5, accuracy=50.0).write(tmp_path)
    path = tmp_path / SensitivityFile.FILE
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, "loss": 0.25}))
    with pytest.raises(UserError, match="is damaged"):
        SensitivityFile.read(tmp_path)


def test_an_earlier_fit_of_the_same_run_need_not_be_measured_again(
    run: tuple[Recipe, Path, Structure], tmp_path: Path
) -> None:
    recipe, folder, structure = run
    weights = str(read_start(folder).facts["sha256"])
    entries = [Sensitivity(path, kind, bits, 0.1, 90.0, 0.1, 0.1) for path, kind, bits in wanted(structure, (2, 4, 8))]
    known = SensitivityFile(
        weights=weights, images=1, norm_images=1, loss=0.5, accuracy=50.0, entries=tuple(entries), complete=True
    )
    earlier, out = tmp_path / "earlier", tmp_path / "out"
    for place in (earlier, out):
        place.mkdir()
    known.write(earlier)
    assert measured(recipe, folder, structure, (2, 4, 8), out, RunContext(), earlier) == known
    assert SensitivityFile.read(out) == known  # the fit goes on alone, wherever the earlier one goes
    replace(known, weights="of another run").write(earlier)
    assert measured(recipe, folder, structure, (2, 4, 8), out, RunContext(), earlier) == known
    (out / SensitivityFile.FILE).unlink()
    replace(known, entries=tuple(one for one in entries if one.path == "fc1")).write(earlier)

    with pytest.raises(Interrupted, match="stopped before fc2 at 4 bits"):  # what it has not is measured
        measured(recipe, folder, structure, (4, 8), out, RunContext(stop=lambda: True), earlier)


def test_widths_that_finn_would_not_take_are_left_out_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_net(tmp_path)
    recipe = Recipe("own_net.py:Net_8W8A", data="digits")
    said: list[str] = []
    whole = structure_of(recipe, "own_net.py:Net", None)
    structure = without_refused(whole, recipe, (1, 4, 8), None, said.append)
    assert said[0].startswith("no 1-bit weights of conv, fc [integer-1-bit]: ")
    assert said[1].startswith("no 1-bit activations of act [integer-1-bit]: ")
    trials = [("conv", "weights", 4), ("fc", "weights", 4), ("act", "activations", 4)]
    assert list(wanted(structure, (1, 4, 8))) == trials
    asked = [*questions(structure, (1, 4, 8))]
    assert {bits for question in asked for bits in question.bits.values()} == {4, 8}
    assert asked[1].bits == {"conv": 4, "fc": 4, "act": 4}
    with pytest.raises(UserError, match=r"FINN would take no layer of own_net\.py:Net_8W8A at fewer bits"):
        without_refused(whole, recipe, (1, 8), None, said.append)
