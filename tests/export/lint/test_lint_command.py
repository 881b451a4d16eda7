"""`qtrain lint` takes names, files and modules of the user's own; a wrong input is one line that helps."""

import configparser
import json
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import qonnx
import torch
from brevitas.export import export_qonnx
from onnx.external_data_helper import convert_model_to_external_data
from qonnx.util.cleanup import cleanup

from qtrain.errors import UserError
from qtrain.experiments.targets import parse_shape
from qtrain.export.compiler.start import estimate_build
from tests.export.lint.probe_builds import exported
from tests.export.lint.probes import PROBES
from tests.trained_networks import pynq_module

OWN = """
import sys
from torch import nn
from tests.export.lint.probes import PROBES

bad = PROBES["avgpool_middle"].make
clean = PROBES["base"].make()
unsigned = PROBES["identity_unsigned"].make

class Needs(nn.Module):
    def __init__(self, bits, *, width, depth=2):
        super().__init__()

class Breaks(nn.Module):
    def __init__(self):
        super().__init__()
        raise RuntimeError("no weights here")

class Zoo:
    net = clean

number = 3

def text():
    return "a network"
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with modules and files of the user's own."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "own_nets.py").write_text(OWN)
    (folder / "broken_nets.py").write_text("from torch import nn\nnet = = nn.ReLU()\n")
    (folder / "needy_nets.py").write_text("import a_package_that_is_not_there\n")
    (folder / "text.onnx").write_text("dear")
    (folder / "empty.onnx").touch()
    (folder / "notes.txt").write_text("dear")
    (folder / "folder").mkdir()
    exported(PROBES["base"]).save(str(folder / "a.onnx"))
    (folder / "short.onnx").write_bytes((folder / "a.onnx").read_bytes()[:3000])
    graph = onnx.load(str(folder / "a.onnx"))
    convert_model_to_external_data(graph, location="weights.data", size_threshold=0)
    onnx.save(graph, str(folder / "outside.onnx"))
    (folder / "weights.data").unlink()
    return folder


@pytest.fixture
def here(files: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in that folder."""
    monkeypatch.chdir(files)
    return files


SHAPE = ["--input-shape", "3,8,8"]


@pytest.mark.parametrize(
    ("target", "status", "fragments"),
    [
        ("own_nets:bad", 1, ["error: pool1 [average-pool]", "mend: use nn.MaxPool2d", "1 error: FINN does not take"]),
        ("own_nets:clean", 0, ["No errors, no warnings"]),
        ("own_nets:Zoo.net", 0, ["No errors, no warnings"]),
        ("own_nets:unsigned", 0, ["warning: act1 [unsigned-identity]", "finn-plus takes"]),
    ],
)
def test_a_module_of_the_users_is_linted(here: Path, cli: Callable, target: str, status: int, fragments: list) -> None:
    outcome = cli("lint", target, *SHAPE)
    assert outcome.status == status, outcome
    assert all(fragment in outcome.out for fragment in fragments), outcome.out
    assert not outcome.err


def test_names_and_files_are_linted(here: Path, cli: Callable) -> None:
    assert cli("lint", "cnv-w1a1").status == 0
    assert cli("lint", "CNV_FLOAT").status == 1
    outcome = cli("lint", "a.onnx")
    assert outcome.status == 0
    assert "note: the network [no-top1]" in outcome.out


def test_json_is_the_findings_and_nothing_else(here: Path, cli: Callable) -> None:
    outcome = cli("lint", "own_nets:bad", "--json", *SHAPE)
    assert outcome.status == 1
    (found,) = [f for f in json.loads(outcome.out) if f["severity"] == "error"]
    assert (found["rule"], found["layer"]) == ("average-pool", "pool1")
    assert set(found) == {"rule", "severity", "layer", "says", "step", "mend"}


def pynq_file(name: str, folder: Path, cleaned: bool) -> Path:
    """Return one of brevitas' bnn_pynq networks, written by brevitas' own exporter and perhaps qonnx' clean-up."""
    family = "CNV" if name.startswith("cnv") else "FC"
    module = pynq_module(family)
    config = configparser.ConfigParser()
    assert config.read(Path(module.__file__).parents[1] / "cfg" / f"{name}.ini")
    torch.manual_seed(0)
    network, shape = (module.cnv, (3, 32, 32)) if family == "CNV" else (module.fc, (1, 28, 28))
    model, path = network(config), folder / "model.onnx"
    model(torch.rand(8, *shape))
    export_qonnx(model.eval(), args=torch.rand(1, *shape), export_path=str(path), dynamo=False)
    if cleaned:
        cleanup(str(path), out_file=str(path))
    return path


@pytest.mark.parametrize("cleaned", [False, True])
@pytest.mark.parametrize("name", ["tfc_1w1a", "tfc_2w2a", "cnv_1w2a"])
def test_brevitas_own_networks_pass_cleaned_or_not(tmp_path: Path, cli: Callable, name: str, cleaned: bool) -> None:
    outcome = cli("lint", pynq_file(name, tmp_path, cleaned))
    assert outcome.status == 0, outcome
    found = [line for line in outcome.out.splitlines() if line.startswith(("error", "warning", "note"))]
    assert found == ["note: the network [input-type]", "note: the network [no-top1]"]


def test_the_compiler_says_the_same_of_a_cleaned_one(finn_plus: str, tmp_path: Path) -> None:
    path = pynq_file("tfc_1w1a", tmp_path, cleaned=True)
    build = estimate_build(path.parent, board="Pynq-Z1", target_fps=100, out=tmp_path / "build", timeout_s=300)
    assert build.accepted, build.reason
    graph = onnx.load(tmp_path / "build" / "intermediate_models" / "step_specialize_layers.onnx").graph
    assert {"ElementwiseMul_hls", "ElementwiseAdd_hls"} <= {node.op_type for node in graph.node}  # the notes' floats


OUTPUT = "the network [output]"  # they give images


@pytest.mark.parametrize(
    ("file", "found"),
    [
        ("eltwise_chanlast_testcase", [OUTPUT, "Conv_0 [float-weights]", "Relu_0 [float-activation]"]),
        ("bsd300x3-espcn/subpixel/quant_model", [OUTPUT, "DepthToSpace_42 [operator]", "Conv_5 [float-input]"]),
        ("bsd300x3-espcn/nn_resize/quant_model", [OUTPUT, "Resize_42 [operator]"]),
        ("floatquant_exec/qonnx_act_weight_fp8", ["input_quant [operator]", "Gemm [float-weights]", "Gemm [head]"]),
        ("bsd300x3-espcn/subpixel/float_model", ["the network [not-quantized]"]),
        ("mnist-conv/model", ["the network [not-quantized]"]),
        ("matmul_update/sdp", ["the network [not-quantized]"]),
    ],
)
def test_files_that_qonnx_ships_fail_at_the_right_node(cli: Callable, file: str, found: list[str]) -> None:
    outcome = cli("lint", Path(qonnx.__file__).parent / "data" / "onnx" / f"{file}.onnx")
    assert outcome.status == 1, outcome
    assert [line for line in outcome.out.splitlines() if line.startswith("error")] == [f"error: {at}" for at in found]


BAD = [
    (["FOO_1W1A"], ["unknown network 'FOO_1W1A'", "my_module:MyNet"]),
    (["something"], ["'something' is not a network name", "model.onnx", "run folder"]),
    (["no.onnx"], ["no.onnx does not exist"]),
    (["text.onnx"], ["text.onnx is not an ONNX file, or cut short"]),
    (["short.onnx"], ["short.onnx is not an ONNX file, or cut short"]),
    (["empty.onnx"], ["empty.onnx is not an ONNX file, or cut short"]),
    (["no/folder/model.onnx"], ["no/folder/model.onnx does not exist"]),
    (["outside.onnx"], ["outside.onnx keeps its weights in another file, which is missing"]),
    (["notes.txt"], ["notes.txt is a file but no .onnx file"]),
    (["folder"], ["folder is neither a run folder", "nor a FINN folder"]),
    (["a.onnx", *SHAPE], ["a.onnx has its own image size; leave out --input-shape"]),
    (["no_such_module:Net"], ["cannot import no_such_module", "ModuleNotFoundError"]),
    (["needy_nets:Net"], ["cannot import needy_nets", "a_package_that_is_not_there"]),
    (["broken_nets:net"], ["cannot import broken_nets", "SyntaxError"]),
    (["own_nets:Missing"], ["own_nets has no Missing", "Needs, Breaks"]),
    (["own nets:clean"], ["write my_module:MyNet"]),
    (["own_nets.py:clean"], ["cannot take images of 3x32x32", "--input-shape"]),
    (["own_nets:clean", "--bits", "4"], ["own_nets:clean cannot be asked for 4 and 4 bits", "give it arguments"]),
    (["own_nets:Needs", "--net-args", "{foo: 3}"], ["has no argument 'foo'", "its arguments are bits, depth, width"]),
    (["own_nets:Needs"], ["own_nets:Needs needs arguments (bits, width)", "give them with --net-args"]),
    (["own_nets:Breaks"], ["own_nets:Breaks fails", "no weights here"]),
    (["own_nets:number"], ["own_nets:number is a int"]),
    (["own_nets:text"], ["own_nets:text makes a str, not an nn.Module"]),
    (["own_nets:clean"], ["cannot take images of 3x32x32", "--input-shape"]),
    (["CNV_1W1A", "--input-shape", "3x32x32"], ["--input-shape must be channels,height,width"]),
    (["CNV_1W1A", "--input-shape", "3,32,16"], ["takes square images"]),
    ([], ["target"]),
]


@pytest.mark.parametrize(("words", "fragments"), BAD, ids=[" ".join(words) or "nothing" for words, _ in BAD])
def test_a_wrong_input_is_one_line_that_helps(here: Path, cli: Callable, words: list, fragments: list) -> None:
    outcome = cli("lint", *words)
    assert outcome.status == 2, outcome
    assert outcome.err.startswith("qtrain: ")
    assert outcome.err.count("\n") == 1
    assert all(fragment in outcome.err for fragment in fragments), outcome.err


@pytest.mark.parametrize("text", ["", "1,28,28,1", "0,28,28", "-1,28,28", "a,b,c", "1.5,28,28"])
def test_a_shape_is_one_to_three_whole_numbers(text: str) -> None:
    with pytest.raises(UserError, match="--input-shape must be channels,height,width"):
        parse_shape(text)
    assert [parse_shape(given) for given in ("3,32,16", "2,1024", "600")] == [(3, 32, 16), (2, 1024, 1), (600, 1, 1)]
