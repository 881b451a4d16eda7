"""A second opinion: the exported graph in finn-base, an executor of its own code, in an environment of its own.

finn-base is qonnx's ancestor and shares the package name ``finn`` with FINN, so it never lies beside finn-plus. It
computes in float32, node by node, one image at a time; what it answers is compared with torch's logits in float64.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from qonnx.core.modelwrapper import ModelWrapper
from torch import Tensor

from qtrain.errors import UserError
from qtrain.export.compiler.child import run_group
from qtrain.export.compiler.start import KEPT_VARIABLES
from qtrain.export.errors import ProofError
from qtrain.export.execute.operators import top1
from qtrain.export.folder.checks import DIALECT_MODEL
from qtrain.export.folder.contents import MANIFEST, check_files, read_manifest, read_proof_data
from qtrain.export.proof.against_torch import TOLERANCE
from qtrain.export.proof.dialect import to_finn_base
from qtrain.records.files import write_json

INSTALL = "make it with `make finn-base`, or name an interpreter that has finn-base in QTRAIN_FINN_BASE_PYTHON"
ENVIRONMENT = Path(".venv-finn-base") / "bin" / "python"
WORKER = Path(__file__).with_name("_finn_base_worker.py")
DEFAULT_SECONDS = 60.0
# Seconds until a process that hangs is ended: to start, and for each image.
_START_S = 120.0
_IMAGE_S = 120.0
_SHARE = 50  # one image in so many, and one at least, may get another class from float32's rounding


@dataclass(frozen=True)
class SecondOpinion:
    """What finn-base answered, against torch in float64.

    Attributes:
        images: executed.
        equal: images with the same class.
        ties: images with another class whose logits agree to float32's precision: two of them are too close to tell.
        flipped: images with another class and other logits, by number: float32 rounded some value to the other side of
            a quantizer's boundary, or the graph is wrong.
        allowed: how many may be flipped.
        equal_logits: images whose logits agree to ``TOLERANCE``, so that no quantizer flipped on the way.
        largest_logit_difference: over all images, absolute.
        seconds: that the executing took.
        versions: of Python and the packages in finn-base's environment.
    """

    images: int
    equal: int
    ties: tuple[int, ...]
    flipped: tuple[int, ...]
    allowed: int
    equal_logits: int
    largest_logit_difference: float
    seconds: float = 0.0
    versions: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """What the process of finn-base has left.

    Attributes:
        classes: int64 [N].
        logits: float64 [N, classes].
        seconds: that the executing took.
        versions: of Python and the packages there.
    """

    classes: Tensor
    logits: Tensor
    seconds: float
    versions: dict[str, str]


def find_finn_base() -> str:
    """Return the interpreter that has finn-base: ``QTRAIN_FINN_BASE_PYTHON``, else that of ``.venv-finn-base``.

    Raises:
        UserError: there is none; says how to make it.
    """
    if chosen := os.environ.get("QTRAIN_FINN_BASE_PYTHON"):
        if shutil.which(chosen) is None:
            raise UserError(f"QTRAIN_FINN_BASE_PYTHON is {chosen}, which is no program; {INSTALL}")
        return chosen
    for folder in (Path(__file__).resolve().parents[2], Path.cwd()):
        if os.access(folder / ENVIRONMENT, os.X_OK):
            return str(folder / ENVIRONMENT)
    raise UserError(f"no finn-base: there is no {ENVIRONMENT.parents[1]} in the checkout or here; {INSTALL}")


def execute(model: ModelWrapper, pixels: Tensor, python: str, seconds: float | None = None) -> Answer:
    """Execute a graph in finn-base.

    Args:
        model: an exported graph: pixels in, TopK behind the logits.
        pixels: uint8 [N, C, H, W].
        python: interpreter that has finn-base.
        seconds: begin no further image after so long, the answer is that of the first ones; None runs all of them.

    Raises:
        UserError: finn-base is not there, or does not take the graph.
        ProofError: it failed on the graph.
    """
    with tempfile.TemporaryDirectory(prefix="qtrain-finn-base-") as temporary:
        work = Path(temporary)
        to_finn_base(model).save(str(work / "model.onnx"))
        np.save(work / "images.npy", pixels.numpy())
        (work / "request.json").write_text(json.dumps({"seconds": seconds}))
        answer = _run(python, work, _START_S + (_IMAGE_S * len(pixels) if seconds is None else seconds + _IMAGE_S))
        logits = torch.from_numpy(np.load(work / "logits.npy"))
        return Answer(torch.tensor(answer["classes"]), logits, answer["seconds"], answer["versions"])


def _run(python: str, work: Path, timeout_s: float) -> dict[str, Any]:
    """Run the worker on the request in ``work``; return its answer."""
    kept = {name: os.environ[name] for name in (*KEPT_VARIABLES, "OMP_WAIT_POLICY") if name in os.environ}
    command = [python, "-I", str(WORKER), str(work / "request.json")]  # -I: neither ours nor PYTHONPATH may shadow finn
    log = work / "log"
    path = work / "answer.json"
    status = run_group(command, env=kept | {"HOME": str(work)}, cwd=work, log=log, timeout_s=timeout_s)
    if not path.exists():
        last = (log.read_text(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
        how = f"was ended after {timeout_s:g} s" if status is None else f"ended with status {status}"
        raise ProofError(f"finn-base's process ({python}) {how}: {last}")
    answer: dict[str, Any] = json.loads(path.read_text())
    if answer["unusable"]:
        raise UserError(f"no finn-base: in {python}, {answer['unusable']}; {INSTALL}")
    if answer["error"]:
        raise ProofError(f"finn-base cannot execute the graph: {' '.join(answer['error'].split())[:300]}")
    return answer


def judge(classes: Tensor, logits: Tensor, expected: Tensor) -> SecondOpinion:
    """Compare finn-base's answers with torch's.

    Float32 may put a value that lies within rounding of a quantizer's boundary on its other side, which moves the
    logits and sometimes the class; a wrong graph moves them on most images. So one image in 50, and one at least, may
    be flipped; a tie is no flip.

    Args:
        classes: int64 [N].
        logits: [N, classes].
        expected: float64 logits [N, classes] of the torch reference.
    """
    precision = TOLERANCE * expected.abs().max().clamp(min=1)
    difference = (logits - expected).abs().amax(1)
    close = difference <= precision
    other = classes != top1(expected).flatten()
    behind = expected.amax(1) - expected.gather(1, classes[:, None]).flatten()
    tie = close & (behind <= 2 * precision)
    return SecondOpinion(
        images=len(classes),
        equal=int((~other).sum()),
        ties=tuple((other & tie).nonzero().flatten().tolist()),
        flipped=tuple((other & ~tie).nonzero().flatten().tolist()),
        allowed=max(1, len(classes) // _SHARE),
        equal_logits=int(close.sum()),
        largest_logit_difference=difference.max().item(),
    )


def second_opinion(
    folder: Path,
    *,
    images: int | Literal["all"] | None = None,
    python: str | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> SecondOpinion:
    """Execute a FINN folder's graph in finn-base and compare it with the logits that torch gave at the export.

    Args:
        folder: FINN folder; its files must be unchanged.
        images: of the test set; None runs as many as fit a minute, but one at least.
        python: interpreter that has finn-base; by default that of ``find_finn_base``.
        say: told what is being done.

    Raises:
        UserError: no finn-base, no FINN folder, no positive number of images, a graph that finn-base does not take.
        ProofError: a changed file, or finn-base failed on the graph. What it answered is for ``check`` to refuse.
    """
    python = python or find_finn_base()
    check_files(folder, read_manifest(folder))
    pixels, _, expected = read_proof_data(folder)
    count = len(pixels) if images in (None, "all") else int(images)
    if not 1 <= count <= len(pixels):
        raise UserError(f"images must be 1 to {len(pixels)}, the folder's test set, or all, but got {count}")
    say(f"executing the graph in finn-base on {count} images" + ", for a minute at most" * (images is None))
    graph = ModelWrapper(str(folder / "model.onnx"))
    answer = execute(graph, pixels[:count], python, DEFAULT_SECONDS if images is None else None)
    found = judge(answer.classes, answer.logits, expected[: len(answer.classes)])
    return replace(found, seconds=answer.seconds, versions=answer.versions)


def check(opinion: SecondOpinion) -> None:
    """See that no more images are flipped than float32's rounding explains.

    Raises:
        ProofError: names them.
    """
    if len(opinion.flipped) > opinion.allowed:
        raise ProofError(
            f"finn-base gives the same class on {opinion.equal} of {opinion.images} images only; float32's rounding "
            f"explains {opinion.allowed}, but these differ: {numbers(opinion.flipped)}"
        )


def numbers(images: tuple[int, ...], most: int = 20) -> str:
    """Images by number, the first of them where they are many."""
    shown = ", ".join(map(str, images[:most]))
    return f"{shown}, and {len(images) - most} more" if images[most:] else shown


def add_dialect(folder: Path) -> Path:
    """Write a FINN folder's graph beside it in finn-base's dialect, and record the file in the manifest.

    ``model.onnx`` stays QONNX: both FINNs build from that; a finn-base of today or of an old FINN reads the other.

    Raises:
        UserError: not a FINN folder, or a graph that finn-base does not take; nothing is written then.
    """
    manifest = read_manifest(folder)
    try:
        model = to_finn_base(ModelWrapper(str(folder / "model.onnx")))
    except UserError as error:
        raise UserError(f"{error}. {folder} is whole, but without {DIALECT_MODEL}") from None
    path = folder / DIALECT_MODEL
    model.save(str(path))
    manifest["files"][path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    write_json(folder / MANIFEST, manifest)
    return path
