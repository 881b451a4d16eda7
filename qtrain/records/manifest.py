"""What the manifest of a FINN folder says of its proof: written by the exporter, shown by reports."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from qtrain.errors import UserError
from qtrain.records.format import Source, from_json

MANIFEST = "manifest.json"
FORMAT = 2  # what an export writes, and all that a proof can be repeated from
SHOWN_FORMATS = (1, 2)  # they differ in nothing that is shown


@dataclass(frozen=True)
class StageCheck:
    """One exporter stage against the torch module in float64.

    Attributes:
        stage: name of the pass.
        nodes: in the stage's graph.
        images: executed.
        tensors: compared, the output included.
        largest_difference: over all of them, relative to each tensor's largest magnitude (at least 1).
    """

    stage: str
    nodes: int
    images: int
    tensors: int
    largest_difference: float


@dataclass(frozen=True, kw_only=True)
class Proof:
    """The whole test set through the exported graph and through torch, image by image.

    Attributes:
        images: in the test set.
        equal: images where both give the same class.
        accuracy_torch: of the float64 reference, in percent.
        accuracy_graph: of the exported graph, in percent.
        largest_logit_difference: graph against torch, both float64.
        ties: images where two classes have exactly the same largest logit; the lower index wins, as in hardware.
        float32_torch_differs: images where torch in float32 (what training measured) gives another class than torch in
            float64; None where the network was not at hand.
        qonnx_images: images also run by qonnx's own float32 executor.
        qonnx_equal: of those, images with the same class.
        caveats: what the test set leaves open, in sentences; empty where nothing.
    """

    images: int
    equal: int
    accuracy_torch: float
    accuracy_graph: float
    largest_logit_difference: float
    ties: int
    float32_torch_differs: int | None = None
    qonnx_images: int
    qonnx_equal: int
    caveats: tuple[str, ...] = ()


@dataclass(frozen=True)
class ShownExport:
    """What reports show of an export.

    Attributes:
        board: FINN's board name.
        target_fps: frames per second that FINN folds the layers for.
        clock_ns: clock period in nanoseconds.
        proof: over the whole test set.
        stages: of the exporter, in order.
        files: SHA-256 by relative path.
    """

    board: str
    target_fps: float
    clock_ns: float
    proof: Proof
    stages: tuple[StageCheck, ...]
    files: Mapping[str, str]


def read_export(folder: Path) -> ShownExport:
    """Read what reports show of a FINN folder; nothing of it is proven by that.

    Raises:
        UserError: it has no manifest, or one that is damaged or of another format.
    """
    source = Source(folder / MANIFEST, "export the run again")
    values = source.parse(source.read_text("qtrain export"))
    if (found := values.get("format")) not in SHOWN_FORMATS:
        read = " and ".join(map(str, SHOWN_FORMATS))
        raise UserError(f"{source.path} has format {found!r}, this qtrain reads {read}; export the run again")
    return from_json(ShownExport, values, source)
