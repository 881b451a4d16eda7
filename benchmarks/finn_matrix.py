"""Every network of the zoo at every bit width through export, proof and the real FINN compiler: `make finn-matrix`.

Usage: python -m benchmarks.finn_matrix [--networks CNV,VGG11] [--bits 1,2,4] [--jobs 2] [--max-minutes 60] [--again]

One line a cell goes to results/finn_matrix.jsonl, and a cell that stands there is not run again, so the command can be
stopped and repeated. A cell is a narrow network, trained for a few steps on the embedded digits (signals for
VGG10_RADIOML) so that norms and ranges have moved, exported, proven on test images, and built up to FINN's estimates
with FINN's own executions of the graph. Exit status 1 where a cell is refused that `qtrain lint` did not announce, or
accepted against lint's word.
"""

import argparse
import json
import tempfile
import time
import warnings
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.matrix_images import images_of
from qtrain.export import ProofError, export_finn, lint_network
from qtrain.export.compiler.result import BuildResult
from qtrain.export.compiler.start import estimate_build
from qtrain.export.proof.inside_finn import verify_finn
from qtrain.models import FAMILIES, build_model
from qtrain.models.shapes import Size, height_and_width

RESULTS = Path(__file__).parents[1] / "results" / "finn_matrix.jsonl"
BITS = (1, 2, 3, 4, 6, 8)
BOARD, TARGET_FPS = "ZCU104", 100
STEPS, BATCH = 6, 32
MORE_STEPS = {"VGG10_RADIOML": 60}  # after six it answers with one class to every signal
COMPILER_LIMIT = 3600.0  # seconds; several times what a deep cell takes, since cells share the machine
# Images of the proof (None: the whole test set), and those of them that FINN executes after each step too: its own
# executor goes node by node, an image at a time.
CHAIN, DEEP, DEEPEST = (None, 2), (None, 1), (64, 1)
IMAGENET_SIZE = 64  # instead of 224: same layers, a fiftieth of the time
WIDTHS = {"TFC": 1.0, "SFC": 1.0, "LFC": 0.25, "CNV": 0.25, "WRN20": 1.0, "WRN20_PAPER": 1.0}
WIDTHS |= {"RESNET20": 1.0, "RESNET56": 0.5}
WIDTHS |= {"VGG10_RADIOML": 1.0, "MLP": 1.0, "MLP_KWS": 1.0}
NARROW = 0.125
TEN = 10  # classes
# CNV for traffic signs (GTSRB), and with larger images than CIFAR's; MobileNetV1 as it is for CIFAR.
FURTHER: dict[str, tuple[dict[str, Any], ...]] = {
    "CNV": ({"num_classes": 43}, {"image_size": 48}),
    "MOBILENETV1": ({"image_size": 32},),
}


@dataclass(frozen=True)
class Cell:
    """What is built.

    Attributes:
        family: of the network.
        bits: of weights and activations.
        width: multiplies the network's channels.
        image_size: height and width, one number where they are equal.
        in_channels: of its images.
        num_classes: logits an image.
    """

    family: str
    bits: int
    width: float
    image_size: Size
    in_channels: int = 3
    num_classes: int = 10

    @property
    def network(self) -> str:
        """Its name."""
        return f"{self.family}_{self.bits}W{self.bits}A"

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of one image, (channels, height, width)."""
        return (self.in_channels, *height_and_width(self.image_size))

    @property
    def steps(self) -> int:
        """Training steps."""
        return MORE_STEPS.get(self.family, STEPS)

    @property
    def images(self) -> tuple[int | None, int]:
        """Images of the proof, and of FINN's own executions."""
        if self.family in ("RESNET34", "RESNET50", "RESNET56"):
            return DEEPEST
        return DEEP if self.family.startswith(("RESNET", "WRN", "MOBILENET", "VGG10")) else CHAIN


def cells(families: list[str], bits: list[int]) -> list[Cell]:
    """All of them, every family at one bit width before the next; behind a family's usual cell its further ones."""
    found = []
    for width in bits:
        for name in families:
            found.append(_usual(name, width))
            found += [replace(found[-1], **changes) for changes in FURTHER.get(name, ())]
    return found


def _usual(name: str, bits: int) -> Cell:
    """Return a family's cell: its usual images, ImageNet's smaller, with ten classes unless it says how many."""
    family = FAMILIES.get(name)
    size = family.image_size
    if isinstance(size, int):
        size = min(size, IMAGENET_SIZE)
    width = WIDTHS.get(name, NARROW)
    return Cell(name, bits, width, size, family.in_channels, family.num_classes or TEN)


def trained(cell: Cell, images: Tensor, labels: Tensor) -> nn.Module:
    """The network after a few steps."""
    torch.manual_seed(cell.bits)
    shape = {"in_channels": cell.in_channels, "image_size": cell.image_size, "num_classes": cell.num_classes}
    model = build_model(cell.network, width=cell.width, **shape)
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for step in range(cell.steps):
        first = BATCH * step % (len(images) - BATCH + 1)
        at = slice(first, first + BATCH)
        loss = F.cross_entropy(model(images[at].float() / 255), labels[at])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        model.clip_weights()
    return model.eval()


def run(cell: Cell) -> dict[str, Any]:
    """Train, lint, export, prove, build; return the record."""
    train_images, train_labels, pixels, labels = images_of(cell.shape, cell.num_classes, cell.images[0])
    model = trained(cell, train_images, train_labels)
    linted = lint_network(model, cell.shape)
    announced = sorted({f"{error.rule}: {error.layer}" for error in linted.errors})
    record: dict[str, Any] = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "network": cell.network,
        **asdict(cell),
        "board": BOARD,
        "target_fps": TARGET_FPS,
        "steps": cell.steps,
        "lint_errors": announced,
        "finn_plus": version("finn-plus"),
    }
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "finn"
        try:
            target = {"board": BOARD, "target_fps": TARGET_FPS}
            given = {"pixels": pixels, "labels": labels, "linted": linted}
            proof = export_finn(model, folder, refused_too=True, **given, **target)
        except ProofError as error:
            return record | {"proof": None, "accepted": False, "reason": f"export: {error}"}
        exported = time.perf_counter()
        build, stages = built(folder, cell.images[1])
    verdict = {k: v for k, v in asdict(build).items() if k not in ("log", "versions", "seconds")}
    times = {"export_s": round(exported - started, 1), "build_s": round(build.seconds, 1)}
    return record | {"proof": asdict(proof), **verdict, **times, "stages": stages}


def built(folder: Path, executed: int) -> tuple[BuildResult, list[dict[str, Any]]]:
    """The compiler's verdict, and what every step's graph made of all images; nothing where it refused at once."""
    try:
        proof, _ = verify_finn(folder, images="all", golden_images=executed, timeout_s=COMPILER_LIMIT)
    except ProofError:
        with tempfile.TemporaryDirectory() as scratch:
            target = {"board": BOARD, "target_fps": TARGET_FPS, "timeout_s": COMPILER_LIMIT}
            return estimate_build(folder, out=Path(scratch) / "build", images=executed, **target), []
    kept = ("step", "images", "equal", "tensors", "of_tensors", "rounding", "unchanged")
    return proof.build, [
        {k: getattr(stage, k) for k in kept} | {"difference": str(stage.difference) if stage.difference else None}
        for stage in proof.stages
    ]


def attempt(cell: Cell, end: float) -> dict[str, Any] | None:
    """Run a cell in a process of its own; None where the time is up."""
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    return run(cell) if time.time() < end else None


def known() -> dict[tuple[Any, ...], dict[str, Any]]:
    """The newest record of each cell."""
    lines = RESULTS.read_text().splitlines() if RESULTS.exists() else []
    return {record_key(r): r for r in map(json.loads, lines)}


def record_key(record: dict[str, Any]) -> tuple[Any, ...]:
    """Return what tells a cell from all others; older records, all of ten classes, do not say how many."""
    size = record["image_size"]
    if isinstance(size, list):
        size = tuple(size)
    return record["network"], record["width"], size, record.get("num_classes", TEN)


def surprises(records: list[dict[str, Any]]) -> list[str]:
    """Cells where lint and the compiler disagree."""
    return [
        f"{r['network']}: lint announced {r['lint_errors'] or 'nothing'}, FINN: {r['reason']}"
        for r in records
        if bool(r["lint_errors"]) == r["accepted"]
    ]


def main() -> None:
    """Run what is missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = [name for name, family in FAMILIES.built_in.items() if not family.float_only]
    parser.add_argument("--networks", default=",".join(names))
    parser.add_argument("--bits", default=",".join(map(str, BITS)))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--max-minutes", type=float, default=float("inf"))
    parser.add_argument("--again", action="store_true", help="run cells that have a record, too")
    options = parser.parse_args()
    wanted = cells(options.networks.split(","), [int(b) for b in options.bits.split(",")])
    end = time.time() + 60 * options.max_minutes
    done = known()

    def key(cell: Cell) -> tuple[Any, ...]:
        return cell.network, cell.width, cell.image_size, cell.num_classes

    todo = [cell for cell in wanted if options.again or key(cell) not in done]
    # Processes: Brevitas exports one network at a time in each.
    with ProcessPoolExecutor(options.jobs, get_context("spawn")) as pool:
        running = {pool.submit(attempt, cell, end): cell for cell in todo}
        for future in as_completed(running):
            network = running[future].network
            if (error := future.exception()) is not None:  # one cell's bug must not cost the others
                print(f"{network}: {type(error).__name__}: {error}", flush=True)
            elif (record := future.result()) is not None:
                with RESULTS.open("a") as file:
                    file.write(json.dumps(record) + "\n")
                print(f"{network}: {'accepted' if record['accepted'] else record['reason']}", flush=True)
    found = known()
    missing = [cell.network for cell in wanted if key(cell) not in found]
    wrong = surprises([found[key(cell)] for cell in wanted if key(cell) in found])
    print(f"{len(wanted) - len(missing)} of {len(wanted)} cells recorded")
    timed_out = time.time() > end
    raise SystemExit("\n".join(wrong) if wrong else int(bool(missing) and not timed_out))


if __name__ == "__main__":
    main()
