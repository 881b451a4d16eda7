"""Whose proof it is: what a FINN folder records of torch, against the trained network itself."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from qonnx.core.modelwrapper import ModelWrapper
from torch import Tensor, nn

from qtrain.export.bare import bare_copy, unwrapped
from qtrain.export.errors import ProofError
from qtrain.export.execute.operators import top1
from qtrain.export.folder.checks import STAGES
from qtrain.export.folder.contents import MANIFEST, read_proof_data
from qtrain.export.foreign.graph_file import read_graph
from qtrain.export.proof.against_torch import check_difference, check_equal_classes, check_stage
from qtrain.export.proof.beyond import prove_beyond, read_facts, verify_beyond
from qtrain.export.proof.digests import weights_digest
from qtrain.export.proof.figures import STAGE_IMAGES
from qtrain.export.proof.reference import device_of, float64_reference, layer_outputs, predict
from qtrain.export.proof.settled import settle


def float32_classes(model: nn.Module, pixels: Tensor, device: torch.device | None = None) -> Tensor:
    """Return the classes that training measured, int64 [N]; computed by a copy, on the model's device by default."""
    network = bare_copy(model)
    settle(network)
    return predict(network.to(device or device_of(unwrapped(model))), pixels).argmax(1)


def check_origin(
    folder: Path,
    manifest: Mapping[str, Any],
    model: nn.Module,
    say: Callable[[str], None],
    device: torch.device | None = None,
) -> None:
    """Compute torch's side anew from the trained network and compare it with what the folder records.

    Args:
        folder: FINN folder whose own proof holds.
        manifest: of it.
        model: the trained network.
        say: told what is being done.
        device: that computes it.

    Raises:
        ProofError: the folder is of another network; says where that shows.
    """
    if (weights := weights_digest(model)) != manifest.get("weights"):
        raise ProofError(
            f"{folder} was exported from other weights ({str(manifest.get('weights'))[:12]}...) than these "
            f"({weights[:12]}...)"
        )
    pixels, _, recorded = read_proof_data(folder)
    reference = float64_reference(model, pixels[:1].float() / 255, device)
    say(f"torch in float64 on {len(pixels)} test images, from the trained weights")
    logits = predict(reference, pixels)
    try:
        check_equal_classes(top1(recorded).flatten(), top1(logits).flatten())
        check_difference("logits", recorded, logits)
    except ProofError as error:
        raise ProofError(f"what {folder} records of torch is not this network's: {error}") from None
    differs = int((float32_classes(model, pixels, device) != top1(logits).flatten()).sum())
    if differs != manifest["proof"]["float32_torch_differs"]:
        say(f"torch in float32 differs from float64 on {differs} images here, where the export counted another number")
    _check_stages(folder, manifest, reference, pixels[:STAGE_IMAGES])
    graph = ModelWrapper(read_graph(folder / "model.onnx"))
    verify_beyond(graph, folder, read_facts(manifest), pixels, manifest["layers"], reference)
    seed = os.urandom(8).hex()
    say(f"images that nobody could prepare for, drawn now from the seed {seed}")
    prove_beyond(graph, reference, pixels, seed, say)


def _check_stages(folder: Path, manifest: Mapping[str, Any], reference: nn.Module, pixels: Tensor) -> None:
    """Compare every layer's tensor in every stage with torch's, and the manifest with how many those are."""
    layers = list(layer_outputs(reference, pixels[:1].double() / 255)[1])
    if layers != manifest["layers"]:
        raise ProofError(f"{MANIFEST} names other layers than the network has")
    takes_pixels = False
    for name, facts in zip(STAGES, manifest["stages"], strict=True):
        takes_pixels = takes_pixels or name.endswith("_pixels.onnx")
        graph = ModelWrapper(read_graph(folder / name))
        found = check_stage(facts["stage"], graph, reference, pixels, takes_pixels)
        if found.tensors != facts["tensors"]:
            raise ProofError(
                f"{MANIFEST} says {facts['tensors']} tensors of stage {found.stage!r}, not {found.tensors}"
            )
