"""What ``qtrain fit`` leaves: what was asked, how sensitive layers are, what FINN said of networks, the candidates."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from qtrain.records.format import JsonFile

Kind = Literal["weights", "activations"]
_MEND = "put a whole copy there, or fit into a new folder"


@dataclass(frozen=True, kw_only=True)
class FitFile(JsonFile):
    """``fit.json``: what was asked for.

    Attributes:
        recipe: of the run at the widest bits; candidates differ in bits, weights to start from and epochs.
        run: folder of that run where it was given; None where it is trained here.
        board: FINN's name.
        min_fps: frames a second that the network must reach.
        clock_ns: clock period in nanoseconds.
        limits: the most of LUT, BRAM_18K, URAM and DSP that may be used, in numbers.
        min_accuracy: on validation images, in percent; None for no such limit.
        hours: wall time for all of it.
        rounds: the most rounds of candidates; None for as many as there is time for.
        at_once: candidates of a round.
        widths: bits that a quantizer may have.
        candidate_epochs: that a candidate trains.
        command: that asked.
    """

    FILE: ClassVar[str] = "fit.json"
    FORMAT: ClassVar[int] = 1
    MADE_BY: ClassVar[str] = "qtrain fit"
    MEND: ClassVar[str] = _MEND

    recipe: Mapping[str, Any]
    run: str | None
    board: str
    min_fps: int
    clock_ns: float
    limits: Mapping[str, float]
    min_accuracy: float | None
    hours: float
    rounds: int | None
    at_once: int
    widths: tuple[int, ...]
    candidate_epochs: int
    command: str


@dataclass(frozen=True)
class Sensitivity:
    """How much worse a network is with one quantizer narrowed.

    Attributes:
        path: of the quantizer.
        kind: whether it quantizes weights or activations.
        bits: that it was given.
        change: of the mean validation loss; None where that is no number.
        accuracy: of validation images, in percent.
        moved: mean square that its output, or the weights, move by.
        estimate: of the change, by ``moved`` and the trace of the loss's Hessian; None where there is none.
    """

    path: str
    kind: Kind
    bits: int
    change: float | None
    accuracy: float
    moved: float
    estimate: float | None = None


@dataclass(frozen=True, kw_only=True)
class SensitivityFile(JsonFile):
    """``sensitivity.json``: of every quantizer at every width.

    Attributes:
        weights: checksum of the file that holds the network's weights.
        images: of the validation set that the loss is of.
        norm_images: of the training set that BatchNorm's statistics are estimated on.
        loss: of the network as it was trained, its statistics estimated likewise.
        accuracy: of it, in percent.
        entries: one a quantizer and width.
        complete: whether all are there.
        seconds: that measuring took.
        estimate_seconds: that the traces took.
        rank_correlation: Spearman's, of changes and estimates.
    """

    FILE: ClassVar[str] = "sensitivity.json"
    FORMAT: ClassVar[int] = 1
    MADE_BY: ClassVar[str] = "qtrain fit"
    MEND: ClassVar[str] = "delete it to have it measured again"

    weights: str
    images: int
    norm_images: int
    loss: float
    accuracy: float
    entries: tuple[Sensitivity, ...] = ()
    complete: bool = False
    seconds: float = 0.0
    estimate_seconds: float = 0.0
    rank_correlation: float | None = None


@dataclass(frozen=True, kw_only=True)
class HardwareNode:
    """One node of FINN's graph with what FINN estimates of it; numbers that a kind of node has not are 0.

    Attributes:
        name: FINN's.
        operator: FINN's kind of node, as ``MVAU_hls``.
        place: layer of the network that it is, or stands before or after, as ``estimate.json`` has it.
        pe: processing elements.
        simd: lanes of each.
        columns: of the weight matrix; of a vector unit, elements of a kernel.
        rows: of the weight matrix; of a vector unit, channels.
        positions: that the weights are used at, an image.
        weight_bits: of a weight.
        input_bits: of what comes in.
        output_bits: of what goes out.
        sum_bits: of the accumulator.
        thresholds: whether it compares its sums with thresholds.
        cycles: a frame.
        lut: look-up tables.
        bram_18k: block RAMs of 18 Kb.
        uram: UltraRAMs.
        dsp: DSP slices.
    """

    name: str
    operator: str
    place: str
    pe: int = 0
    simd: int = 0
    columns: int = 0
    rows: int = 0
    positions: int = 0
    weight_bits: int = 0
    input_bits: int = 0
    output_bits: int = 0
    sum_bits: int = 0
    thresholds: bool = False
    cycles: int
    lut: int
    bram_18k: int
    uram: int
    dsp: int


@dataclass(frozen=True, kw_only=True)
class CompiledNetwork:
    """What FINN says of the network at some bits and foldings.

    Attributes:
        name: of it here.
        bits: of every quantizer that may have others, by its path.
        folding: what was asked for instead of FINN's own, by layer: PE and SIMD.
        width: bits of a weight stream that FINN's own folding might have.
        held_out: whether the cost model is judged on it instead of fitted to it.
        fps: frames a second.
        nodes: of the hardware.
        seconds: that it took.
    """

    name: str
    bits: Mapping[str, int]
    folding: Mapping[str, Any]
    width: int
    held_out: bool
    fps: float
    nodes: tuple[HardwareNode, ...]
    seconds: float

    @property
    def used(self) -> dict[str, int]:
        """Return the totals by FINN's names."""
        return {
            "LUT": sum(node.lut for node in self.nodes),
            "BRAM_18K": sum(node.bram_18k for node in self.nodes),
            "URAM": sum(node.uram for node in self.nodes),
            "DSP": sum(node.dsp for node in self.nodes),
        }


@dataclass(frozen=True, kw_only=True)
class CompiledFile(JsonFile):
    """``compiled.json``: what the compiler said, for the cost model.

    Attributes:
        network: digest of what it was asked about: the network's structure, the board, the rate, the compiler.
        versions: of the compiler.
        networks: as they were compiled.
        refused: names of those that FINN did not take, and why.
    """

    FILE: ClassVar[str] = "compiled.json"
    FORMAT: ClassVar[int] = 1
    MADE_BY: ClassVar[str] = "qtrain fit"
    MEND: ClassVar[str] = "delete it to ask the compiler again"

    network: str
    versions: Mapping[str, str]
    networks: tuple[CompiledNetwork, ...] = ()
    refused: Mapping[str, str] = field(default_factory=lambda: dict[str, str]())


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One network that was chosen, and what came of it.

    Attributes:
        name: of its cell.
        round: that chose it, from 1; 0 for the network at the widest bits.
        bits: of every quantizer that may have others, by its path.
        folding: PE and SIMD by layer; empty for FINN's own.
        predicted: what it was chosen by: ``change`` of the loss, LUT, BRAM_18K, URAM, DSP, cycles.
        bound: the most LUTs that it was allowed.
        state: planned, done or failed.
        error: why it failed.
        validation_accuracy: in percent.
        test_accuracy: in percent.
        fps: frames a second, by the compiler.
        used: LUT, BRAM_18K, URAM, DSP, by the compiler.
        own_folding: whether the compiler was told the folding here, or folded by itself.
        seconds: that training took.
    """

    name: str
    round: int
    bits: Mapping[str, int]
    folding: Mapping[str, Any]
    predicted: Mapping[str, Any]
    bound: float
    state: Literal["planned", "done", "failed"] = "planned"
    error: str | None = None
    validation_accuracy: float | None = None
    test_accuracy: float | None = None
    fps: float | None = None
    used: Mapping[str, Any] | None = None
    own_folding: bool = False
    seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class CandidatesFile(JsonFile):
    """``candidates.json``: the networks that were chosen, round by round, and the winner.

    Attributes:
        candidates: in the order of being chosen.
        fronts: a round each: the networks that the solver found at growing bounds, as ``predicted`` has them.
        errors: a round each: the cost model's, as ``ModelError`` has them.
        spent: seconds so far.
        winner: name of the most accurate that fits; None so far.
        command: that repeats the winner.
    """

    FILE: ClassVar[str] = "candidates.json"
    FORMAT: ClassVar[int] = 1
    MADE_BY: ClassVar[str] = "qtrain fit"
    MEND: ClassVar[str] = _MEND

    candidates: tuple[Candidate, ...] = ()
    fronts: tuple[Any, ...] = ()
    errors: tuple[Mapping[str, Any], ...] = ()
    spent: float = 0.0
    winner: str | None = None
    command: str = ""
