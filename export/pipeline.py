"""``export_finn``: a trained module to a proven FINN folder; ``verify``: the proof again, from the folder alone."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from qonnx.core.modelwrapper import ModelWrapper
from torch import Tensor, nn

from qtrain.devices import named_device
from qtrain.errors import UserError
from qtrain.export.bare import unwrapped
from qtrain.export.compiler.boards import Board, get_board
from qtrain.export.errors import ProofError
from qtrain.export.execute.operators import top1
from qtrain.export.folder import contents as finn_folder
from qtrain.export.folder.at_board import check_board, handover, write_board
from qtrain.export.folder.build_files import write_build_files
from qtrain.export.folder.checks import check_folder
from qtrain.export.folder.readme import README, folder_readme
from qtrain.export.foreign.boundary import one_line
from qtrain.export.foreign.graph_file import read_graph
from qtrain.export.inputs import check_classes, check_images, input_facts
from qtrain.export.linted import LintedNetwork, lint_network
from qtrain.export.proof.against_torch import check_stage, prove, run_qonnx
from qtrain.export.proof.annotations import check_annotations
from qtrain.export.proof.beyond import prove_beyond, read_facts, verify_beyond, write_beyond
from qtrain.export.proof.digests import weights_digest
from qtrain.export.proof.figures import STAGE_IMAGES, check_data, check_figures, check_stages, data_facts
from qtrain.export.proof.origin import check_origin, float32_classes
from qtrain.export.proof.reference import float64_reference, layer_outputs, predict
from qtrain.export.stages import Stage
from qtrain.export.target import check_rates
from qtrain.library_warnings import hushed
from qtrain.records.data import DataFacts
from qtrain.records.manifest import Proof, StageCheck

REFUSED_TOO = "To export it all the same: --refused-too, in Python refused_too=True"


def _silent(_: str) -> None:
    pass


def check_target(board: str, target_fps: int, clock_ns: float) -> Board:
    """Return the board, where FINN knows it and can be asked for such a target.

    Raises:
        UserError: an unknown board, a target or clock that is not positive, or that no FPGA can have.
    """
    check_rates(target_fps, clock_ns)
    return get_board(board)


def prove_stages(
    stages: Iterable[Stage], reference: nn.Module, pixels: Tensor, folder: Path, say: Callable[[str], None] = _silent
) -> tuple[ModelWrapper, list[StageCheck]]:
    """Save each stage of a graph under ``folder``, which is made, and compare it with torch on ``pixels``.

    Returns:
        The last stage's graph, and what was compared of each.

    Raises:
        ProofError: a stage computes something else than torch in float64; the last file saved is that stage's.
    """
    folder.mkdir()
    checks = []
    for i, stage in enumerate(stages):
        stage.graph.save(str(folder / f"{i}_{stage.name}.onnx"))
        check = check_stage(stage.name, stage.graph, reference, pixels, stage.takes_pixels)
        say(f"stage {stage.name}: {check.nodes} nodes, {check.tensors} tensors equal to torch in float64")
        checks.append(check)
    return stage.graph, checks


def _golden_holds(graph: ModelWrapper, golden: Tensor, expected: Tensor, sample: Tensor, classes: Tensor) -> bool:
    """Whether qonnx's executor gives the golden images' classes; those of ``sample`` are known."""
    known = {image.float().numpy().tobytes(): int(label) for image, label in zip(sample, classes, strict=True)}
    found = [known.get(image.float().numpy().tobytes()) for image in golden]
    left = [i for i, label in enumerate(found) if label is None]
    if left:
        for i, label in zip(left, run_qonnx(graph, golden[left]), strict=True):
            found[i] = int(label)
    return found == expected.tolist()


def check_accepted(linted: LintedNetwork, otherwise: str = REFUSED_TOO) -> None:
    """See that lint found no error.

    Raises:
        UserError: FINN would refuse the network; names the first layer, the change that mends it and ``otherwise``.
    """
    if linted.errors:
        first, *others = linted.errors
        more = f" ({len(others)} more: `qtrain lint` lists them)" if others else ""
        raise UserError(
            f"FINN would refuse this network at {first.layer} [{first.rule}]: {first.says}; {first.mend}{more}. "
            f"{otherwise}"
        )


@hushed()
def export_finn(
    model: nn.Module,
    out: str | Path,
    *,
    pixels: Tensor,
    labels: Tensor,
    board: str = "ZCU104",
    target_fps: int = 1000,
    clock_ns: float = 10.0,
    network: str | None = None,
    refused_too: bool = False,
    source: Mapping[str, Any] | None = None,
    linted: LintedNetwork | None = None,
    data: DataFacts | None = None,
    device: str = "cpu",
    say: Callable[[str], None] = _silent,
    then: Callable[[Path], None] = lambda _: None,
) -> Proof:
    """Export a trained network to a FINN folder and prove it equal to torch on the whole test set.

    Args:
        model: trained module of torch and Brevitas layers; takes float images [N, C, H, W] in [0, 1].
        out: new or empty folder.
        pixels: the test set, uint8 [N, C, H, W].
        labels: int64 [N].
        board: FINN's board name, or a part without a board as ``get_board`` takes one.
        target_fps: frames a second that FINN shall fold for.
        clock_ns: clock period in nanoseconds.
        network: name for the folder's README and manifest; the class name otherwise.
        refused_too: export also what lint says FINN refuses.
        source: facts recorded in the manifest (recipe, commit, training result). A recipe's data set must be the one
            that the images are the test split of, where qtrain knows it.
        linted: what ``lint_network`` made of this network, where it was linted before; its graph is exported.
        data: what is known of the images: class names, layout and value range where they come from, mean and
            deviation. It goes into manifest, README and ``board/``.
        device: that computes the test images, torch's side and the graph's: cpu, cuda, cuda:N, or auto.
        say: told of each step.
        then: called with the finished folder before it gets its name; what that raises ends the export.

    Raises:
        UserError: unknown board, a target or clock that is not positive, a destination that is not free, pixels or
            labels of another kind, ``data`` of other images, no such device, a network that lint says FINN refuses,
            ``linted`` of other weights or images.
        ProofError: the graph differs from torch; names the first tensor. Or equal answers would say nothing.
    """
    out = Path(out)
    found = check_target(board, target_fps, clock_ns)
    where = named_device(device)
    check_images(pixels, labels)
    pixels = pixels.cpu()
    labels = labels.cpu()
    network = network or type(unwrapped(model)).__name__
    shape = tuple(pixels.shape[1:])
    if linted is None:
        linted = lint_network(model, shape)
    else:
        linted.check_same(model, shape)
    if not refused_too:
        check_accepted(linted)
    reference = float64_reference(model, pixels[:1].float() / 255, where)
    outputs = predict(reference, pixels[:1]).shape[1]
    check_classes(labels, outputs)
    data = input_facts(data, shape, outputs)
    check_data({"data": data_facts(pixels, labels), "source": source}, pixels, labels)
    with finn_folder.new_folder(out, say) as work:
        graph, stages = prove_stages(linted.stages(), reference, pixels[:STAGE_IMAGES], work / "stages", say)
        graph.save(str(work / "model.onnx"))
        say(f"running torch in float64 on {len(pixels)} test images")
        logits = predict(reference, pixels)
        classes = top1(logits).flatten()
        differs = int((float32_classes(model, pixels, where) != classes).sum())
        proof, sample = prove(graph, pixels, labels, logits, float32_torch_differs=differs, device=where, say=say)
        # FINN's checks run in float32 too: images that it classifies as float64 does
        agreed = (sample == classes[: len(sample)]).nonzero().flatten()
        finn_folder.write_golden_pair(work, pixels[agreed], classes[agreed])
        write_build_files(work, found, target_fps, clock_ns)
        finn_folder.write_proof_data(work, pixels, labels, logits)
        weights = weights_digest(model)
        beyond, pairs, answers = prove_beyond(graph, reference, pixels, weights, say)
        write_beyond(work, pairs, answers)
        check_annotations(graph, pixels[:STAGE_IMAGES])
        facts = {
            "network": network,
            "board": found.name,
            "target_fps": target_fps,
            "clock_ns": clock_ns,
            "lint": [asdict(finding) for finding in linted.findings],
            "proof": asdict(proof),
            "stages": [asdict(stage) for stage in stages],
            "layers": list(layer_outputs(reference, pixels[:1].double() / 255)[1]),
            "beyond": asdict(beyond),
            "weights": weights,
            "data": data_facts(pixels, labels),
            "source": dict(source or {}),
        }
        facts |= handover(facts, data)
        write_board(work, facts, pixels, labels, classes)
        (work / README).write_text(folder_readme(facts, shape))
        finn_folder.write_manifest(work, facts)
        then(work)
    return proof


@hushed()
def verify(
    folder: str | Path,
    *,
    model: nn.Module | None = None,
    trust: bool = False,
    device: str = "cpu",
    say: Callable[[str], None] = _silent,
) -> Proof:
    """Repeat the proof from the folder alone: its files, every test image, the images beyond, the golden pair.

    That proves the graph against the answers that the folder records. Whose answers they are is proven with ``model``.

    Args:
        folder: that ``export_finn`` wrote.
        model: the trained network that it is said to be of; torch's side is then computed anew.
        trust: take build steps that qtrain does not ship; nothing of them is executed here.
        device: that computes the test images: cpu, cuda, cuda:N, or auto.
        say: told what is being done.

    Raises:
        UserError: not a FINN folder of this version, or no such device.
        ProofError: a file changed, is missing or is one too many, the manifest says something else than what comes
            out, or the graph answers otherwise than torch did.
    """
    folder = Path(folder)
    where = named_device(device)
    manifest = finn_folder.read_manifest(folder)
    check_folder(folder, manifest, trust=trust)
    beyond = read_facts(manifest)
    with one_line(folder / "model.onnx"):
        graph = ModelWrapper(read_graph(folder / "model.onnx"))
    pixels, labels, logits = finn_folder.read_proof_data(folder)
    check_data(manifest, pixels, labels)
    differs = manifest["proof"].get("float32_torch_differs")
    with one_line(folder, "executed"):
        check_annotations(graph, pixels[:STAGE_IMAGES])
        proof, sample = prove(graph, pixels, labels, logits, float32_torch_differs=differs, device=where, say=say)
        check_figures(manifest, proof)
        check_stages(folder, manifest, pixels, logits)
        check_board(folder, manifest, pixels, labels, top1(logits).flatten(), logits.shape[1])
        if manifest.get("weights") != beyond.seed:
            raise ProofError(f"{finn_folder.MANIFEST} draws images beyond the test set from another seed than weights")
        say(f"executing it on {beyond.images} images beyond the test set")
        verify_beyond(graph, folder, beyond, pixels, manifest["layers"])
    golden, expected = finn_folder.read_golden_pair(folder, pixels.shape[1:])
    with one_line(folder, "executed"):
        holds = len(golden) and _golden_holds(graph, golden, expected, pixels[: len(sample)], sample)
    if not holds:
        raise ProofError("the golden pair (input.npy, expected_output.npy) does not hold")
    if model is not None:
        check_origin(folder, manifest, model, say, where)
    return proof
