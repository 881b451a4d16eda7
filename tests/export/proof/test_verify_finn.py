"""``qtrain verify --finn``: the real compiler's graph after each step, against the network."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from qonnx.core.modelwrapper import ModelWrapper
from torch import nn

from qtrain.data import DataSet
from qtrain.export import export_finn
from qtrain.export.execute.operators import top1
from qtrain.export.folder.contents import read_proof_data
from qtrain.export.proof.finn_stages import EXACT_FROM as OURS
from qtrain.export.proof.finn_stages import FOLDED, Stage, step_names
from qtrain.export.proof.inside_finn import FinnStage, check_stages, verify_finn
from qtrain.models import build_model
from qtrain.models.quantizers import Scales, fixed_point_input
from tests.checks import check_refusal, forge, tree

IMAGES = 20
# What a step of ours might get wrong: one threshold of one channel, one step too high.
WRONG_THRESHOLD = """

def _raise_a_threshold(step):
    def step_channels_last(model, cfg):
        model = step(model, cfg)
        node = [n for n in model.graph.node if n.op_type == "MultiThreshold"][2]
        kind, thresholds = model.get_tensor_datatype(node.input[1]), model.get_initializer(node.input[1]).copy()
        thresholds[:, 0] -= 40
        model.set_initializer(node.input[1], thresholds)
        model.set_tensor_datatype(node.input[1], kind)
        return model
    return step_channels_last


ESTIMATE_STEPS = tuple(_raise_a_threshold(s) if s is step_channels_last else s for s in ESTIMATE_STEPS)
"""


@pytest.fixture(scope="module")
def finn(tmp_path_factory: pytest.TempPathFactory, few_digits: DataSet) -> Path:
    """Return a FINN folder of a network whose statistics have moved."""
    torch.manual_seed(0)
    model = build_model("CNV_2W2A", width=0.125)
    for images in few_digits.train.images.split(20):
        model(images.float() / 255)
    out, test = tmp_path_factory.mktemp("verified") / "finn", few_digits.test.take(IMAGES)
    export_finn(model, out, pixels=test.images, labels=test.labels)
    return out


@pytest.mark.usefixtures("finn_plus")
def test_every_step_is_executed_and_equal_and_the_folder_stays_as_it_was(finn: Path, cli: Callable) -> None:
    before = tree(finn)
    outcome = cli("verify", finn, "--finn", "--json")
    assert outcome.status == 0, outcome.err
    proof = json.loads(outcome.out)
    assert [stage["step"] for stage in proof["stages"]] == step_names()
    assert proof["stages"][-1]["step"] == FOLDED
    for stage in proof["stages"]:
        assert (stage["images"], stage["equal"]) == (IMAGES, IMAGES)
        assert (stage["tensors"], stage["of_tensors"], stage["difference"]) == (9, 9, None)
    assert any(stage["unchanged"] for stage in proof["stages"])
    assert proof["build"]["accepted"]
    assert tree(finn) == before


@pytest.mark.usefixtures("finn_plus")
def test_a_step_that_changes_one_threshold_is_found_by_tensor_and_distance(
    finn: Path, tmp_path: Path, cli: Callable
) -> None:
    broken = Path(shutil.copytree(finn, tmp_path / "broken"))
    steps = broken / "custom_steps.py"
    steps.write_text(steps.read_text() + WRONG_THRESHOLD)
    forge(broken)
    outcome = cli("verify", broken, "--finn", "--images", 16, "--trust")
    named = "the network's 'act2_out'"
    check_refusal(outcome, 3, "proof failed: after step_channels_last", named, "steps from a boundary")
    assert "lower convolutions" in outcome.out
    assert "custom_steps.py and custom_transforms.py, which qtrain does not know and you trust" in outcome.out


class AveragedHead(nn.Sequential):
    """FINN leaves an average pool of torch's in software."""

    def __init__(self) -> None:
        from brevitas.nn import QuantConv2d, QuantLinear

        scales = Scales("constant")
        weights = scales.weights(4, 0.25, binary_scale=0.125)
        super().__init__()
        self.input = fixed_point_input(8)
        self.conv = QuantConv2d(3, 4, 3, bias=False, stride=4, **weights)
        self.act = scales.relu(4)
        self.pool = nn.AvgPool2d(8)
        self.flatten = nn.Flatten()
        self.fc = QuantLinear(4, 10, bias=False, **weights)


@pytest.mark.usefixtures("finn_plus")
def test_a_layer_left_in_software_is_named_with_finns_reason_and_the_change_that_mends_it(
    tmp_path: Path, few_digits: DataSet
) -> None:
    torch.manual_seed(0)
    test = few_digits.test.take(IMAGES)
    export_finn(AveragedHead(), tmp_path / "finn", pixels=test.images, labels=test.labels, refused_too=True)
    proof, failure = verify_finn(tmp_path / "finn")
    assert not proof.build.accepted
    assert failure is not None
    assert "pool" in failure
    assert "AdaptiveAvgPool2d(1)" in failure
    assert proof.stages[0].holds


def stage(step: str, equal: int = 20, **changes: object) -> FinnStage:
    values: dict = {"step": step, "nodes": 5, "images": 20, "equal": equal, "tensors": 3, "of_tensors": 3}
    values |= {"difference": None, "rounding": False, "unchanged": False, "seconds": 0.1}
    return FinnStage(**values | changes)


def test_other_classes_fail_a_stage_unless_float32s_rounding_explains_them() -> None:
    assert stage("step_tidy_up").holds
    assert not stage("step_tidy_up", equal=19).holds
    assert stage("step_tidy_up", equal=19, rounding=True).holds


def test_the_step_from_which_integers_are_exact_is_the_folders_own(finn: Path) -> None:
    assert f'EXACT_FROM = "{OURS}"' in (finn / "custom_steps.py").read_text()
    assert OURS in step_names()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--images", "0"], "images must be from 1 to the test set's 20, or all, but got 0"),
        (["--images", "21"], "images must be from 1 to the test set's 20, or all, but got 21"),
        (["--images", "few"], "images must be a whole number, 1 or more, or all, but got 'few'"),
    ],
)
def test_wrong_numbers_of_images_are_refused(finn: Path, cli: Callable, words: list[str], says: str) -> None:
    check_refusal(cli("verify", finn, "--finn", *words), 2, says)


@pytest.mark.parametrize("words", [["--images", "5"], ["--json"], ["--data", "digits"]])
def test_options_of_the_compilers_proof_are_refused_without_it(finn: Path, cli: Callable, words: list[str]) -> None:
    check_refusal(cli("verify", finn, *words), 2, f"{words[0]} goes with --finn or --finn-base")


def test_without_a_compiler_the_line_says_how_to_install_it(
    finn: Path, cli: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QTRAIN_FINN_PYTHON", "/nowhere/python")
    check_refusal(cli("verify", finn, "--finn"), 2, "make finn")


def test_other_classes_before_the_integers_are_no_rounding_where_no_tensor_says_so(finn: Path) -> None:
    exported = ModelWrapper(str(finn / "model.onnx"))
    pixels, _, logits = read_proof_data(finn)
    others = (top1(logits).flatten() + 1) % 10
    (found,) = check_stages([Stage("step_tidy_up", exported, False)], exported, pixels, others)
    assert (found.equal, found.difference) == (0, None)
    assert not found.rounding
    assert not found.holds
