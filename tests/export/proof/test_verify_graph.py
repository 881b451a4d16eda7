"""``qtrain verify FILE --finn``: a bare QONNX file against the compiler's graphs of it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import qonnx
import torch
from qonnx.core.modelwrapper import ModelWrapper

from qtrain.errors import UserError
from qtrain.export.proof.bare_graph import image_shape, noise
from tests.checks import check_refusal, tree
from tests.exported_folders import export_tfc


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a QONNX file with nothing beside it."""
    place = tmp_path_factory.mktemp("bare")
    export_tfc(place / "finn", images=4)
    (place / "alone").mkdir()
    return Path(shutil.copy(place / "finn" / "model.onnx", place / "alone" / "net.onnx"))


@pytest.mark.usefixtures("finn_plus")
def test_every_step_is_compared_with_the_file_itself_on_random_images(bare: Path, cli: Callable) -> None:
    outcome = cli("verify", bare, "--finn", "--images", "all", "--json")
    assert outcome.status == 0, outcome.err
    assert "random images of [3, 28, 28]" in outcome.err
    stages = json.loads(outcome.out)["stages"]
    assert stages[-1]["step"] == "step_create_dataflow_partition"  # a bare file has no golden pair for what follows
    assert {(s["equal"], s["images"], s["tensors"], s["of_tensors"]) for s in stages} == {(256, 256, 4, 4)}
    assert list(tree(bare.parent)) == ["net.onnx"]


@pytest.mark.usefixtures("finn_plus")
def test_a_float_network_with_padding_by_name_is_executed_and_refused_with_the_mend(cli: Callable) -> None:
    file = Path(qonnx.__file__).parent / "data" / "onnx" / "mnist-conv" / "model.onnx"
    outcome = cli("verify", file, "--finn", "--images", "20")
    assert outcome.status == 3, outcome
    assert "20 of 20 images equal" in outcome.out
    assert "Traceback" not in outcome.err
    last = outcome.err.splitlines()[-1]
    assert last.startswith("qtrain: proof failed: FINN failed in step_create_dataflow_partition")
    assert "at the network: build it of brevitas.nn layers" in last


def test_random_images_are_the_same_each_time_and_of_the_graphs_shape(bare: Path) -> None:
    shape = image_shape(ModelWrapper(str(bare)))
    assert shape == (3, 28, 28)
    assert torch.equal(noise(shape), noise(shape))
    assert len(noise(shape).unique()) == 256


def test_a_graph_that_takes_no_images_is_refused(bare: Path) -> None:
    model = ModelWrapper(str(bare))
    model.set_tensor_shape(model.graph.input[0].name, [1, 784])
    with pytest.raises(UserError, match=r"takes \[1, 784\], and images are"):
        image_shape(model)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "is not a FINN folder but a file"),
        (["--finn", "--data", "digits"], "takes images of [3, 28, 28], but the data has [3, 32, 32]"),
        (["--finn", "--data", "letters"], "unknown data set 'letters'"),
    ],
)
def test_what_cannot_be_compared_is_one_line(bare: Path, cli: Callable, words: list[str], says: str) -> None:
    check_refusal(cli("verify", bare, *words), 2, says)


def test_a_damaged_file_is_one_line(bare: Path, tmp_path: Path, cli: Callable) -> None:
    (tmp_path / "short.onnx").write_bytes(bare.read_bytes()[:1000])
    check_refusal(cli("verify", tmp_path / "short.onnx", "--finn"), 2, "is not an ONNX file, or cut short")
    check_refusal(cli("verify", tmp_path / "none.onnx", "--finn"), 2, "none.onnx is not a FINN folder")
