"""What an estimate-only FINN build is worth, read from what it left on disk.

FINN can end with exit status 0 and still leave layers in software, or print FAIL for a verification and go on; both
count as a refusal here.
"""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx

PARTITION_STEP = "step_create_dataflow_partition"
# What the compiler's process says where the machine is to blame.
_MACHINES = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EMFILE, errno.ENFILE)
_LAST = 20  # lines of the log that are looked at
_ROOM = 1 << 16  # bytes that a disk has where it is not full


@dataclass(frozen=True)
class BuildResult:
    """What an estimate-only build said. Figures are FINN's estimates (optimistic), None where it wrote none.

    Attributes:
        accepted: the whole network is one dataflow partition, every verification passed and the estimates exist.
        reason: one line; why not, or what was accepted.
        software_nodes: names of the nodes that FINN left outside the partition.
        fps: frames per second at the clock asked for.
        cycles: clock cycles between two frames, those of the slowest layer.
        latency_ns: nanoseconds from a frame's first input to its result.
        lut: look-up tables.
        bram_18k: block RAMs of 18 Kb.
        uram: UltraRAMs.
        dsp: DSP slices.
        seconds: wall time of the compiler's process.
        versions: versions of Python and the packages in the compiler's interpreter.
        log: the process' output; FINN's own ``build_dataflow.log`` and ``report`` lie beside it.
        verified: the graphs that were executed and gave the folder's expected output: with the folder's own steps
            that after each of them, by its name, in which float32 cannot decide; with FINN's own those of
            its verifications (``finn_onnx_python``, ``initial_python``, ``streamlined_python``); in both cases
            ``hardware_python``, the folded dataflow graph with its minimized bit widths. Steps beyond the first two
            minutes of execution are left out.
        probes: with a search for the fastest folding every target that was tried, in order: ``target_fps``,
            ``mvau_wwidth_max``, ``fps``, ``cycles``, ``LUT``, ``BRAM_18K``, ``URAM``, ``DSP``, ``fits``; ``error``
            where FINN could not fold. One that fits only in other memory styles and resource types than FINN's own
            has ``styles``, attributes by layer, and ``own``, what it takes in FINN's own.
        best: of the probes the one that the figures are for, None where nothing fits.
        all_faster_tried: whether the search tried every folding that is faster than that, at the widths of its probes.
    """

    accepted: bool
    reason: str
    software_nodes: tuple[str, ...]
    fps: float | None
    cycles: int | None
    latency_ns: float | None
    lut: int | None
    bram_18k: int | None
    uram: int | None
    dsp: int | None
    seconds: float
    versions: dict[str, str]
    log: Path
    verified: tuple[str, ...] = field(default=())
    probes: tuple[dict[str, Any], ...] = field(default=())
    best: dict[str, Any] | None = None
    all_faster_tried: bool = False


def software_nodes(models: Path, steps: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the nodes that are not hardware, read from FINN's intermediate graphs.

    Args:
        models: FINN's ``intermediate_models`` folder.
        steps: the steps' names; where FINN refused to partition, the graph before that step is looked at.

    Returns:
        The names in graph order, without the Transpose that turns the input to NHWC: the driver's job.
    """
    names = [step.rpartition(".")[2] for step in steps]
    path = models / "dataflow_parent.onnx"
    hardware = "finn.custom_op.fpgadataflow:StreamingDataflowPartition"
    if not path.exists() and PARTITION_STEP in names[1:]:
        path = models / f"{names[names.index(PARTITION_STEP) - 1]}.onnx"
        hardware = "finn.custom_op.fpgadataflow"
    if not path.exists():
        return ()
    graph = onnx.load(str(path), load_external_data=False).graph
    inputs = {tensor.name for tensor in graph.input}
    return tuple(
        node.name
        for node in graph.node
        if not f"{node.domain}:{node.op_type}".startswith(hardware)
        and not (node.op_type == "Transpose" and node.input[0] in inputs)
    )


def _verification_failure(out: Path, answer: dict[str, Any], images: int) -> str | None:
    """Return what did not verify; FINN itself goes on after a FAIL."""
    for kind in answer["verify_steps"]:
        verdicts = [path.stem.rpartition("_")[2] for path in out.glob(f"verification_output/verify_{kind}_*.npy")]
        if len(verdicts) != images:
            return f"the verification {kind} ran for {len(verdicts)} of {images} images"
        if wrong := verdicts.count("FAIL"):
            return f"the verification {kind} failed for {wrong} of {images} images"
    if failure := _step_failure(answer.get("checks", []), answer.get("exact_from")):
        return failure
    if error := answer.get("search", {}).get("error"):
        return f"the search for a folding failed: {error}"
    hardware = answer.get("hardware") or {"error": None, "equal": [True] * images}
    if hardware["error"]:
        return f"the dataflow graph could not be executed: {hardware['error']}"
    if wrong := hardware["equal"].count(False):
        return f"the dataflow graph gives other classes for {wrong} of {len(hardware['equal'])} images"
    return None


def _step_failure(checks: Sequence[dict[str, Any]], exact_from: str | None) -> str | None:
    """Return which step of the folder's own changed the classes.

    Before ``exact_from``, float32 may round a value between two quantizers either way: a difference there counts only
    if it is still there afterwards, and then it is the one to name. Where the time for checks ended before that step,
    the finished hardware decides.
    """
    names = [check["step"] for check in checks]
    first = 0 if exact_from is None else names.index(exact_from) if exact_from in names else len(checks)
    for check in checks:
        if check["error"]:
            return f"the graph could not be executed after {check['step']}: {check['error']}"
    if all(all(check["equal"]) for check in checks[first:]):
        return None
    wrong = next(check for check in checks if not all(check["equal"]))
    equal = wrong["equal"]
    return f"after {wrong['step']} the graph gives other classes for {equal.count(False)} of {len(equal)} images"


def refusal(out: Path, answer: dict[str, Any], images: int, nodes: Sequence[str]) -> str | None:
    """Return why the network counts as refused, None if it does not."""
    if answer["exit_code"] != 0:
        error = answer["failure"] or {"step": "", "type": "", "message": "no reason was logged"}
        text = " ".join(error["message"].split())
        return f"FINN failed in {error['step'] or 'its start'}: {error['type']}: {text}"
    if nodes:
        return f"FINN leaves {len(nodes)} node(s) in software: {', '.join(nodes)}"
    if failure := _verification_failure(out, answer, images):
        return failure
    if not (out / "intermediate_models" / "dataflow_parent.onnx").exists():
        return f"FINN made no dataflow partition; the steps must hold {PARTITION_STEP}"
    if not (out / "report" / "estimate_network_performance.json").exists():
        return "FINN wrote no estimates; the steps must hold step_generate_estimate_reports"
    return None


def verified(answer: dict[str, Any]) -> tuple[str, ...]:
    """Return the names of the graphs that were executed with the right result, those of an accepted build."""
    steps = [check["step"] for check in answer.get("checks", []) if all(check["equal"])]
    return (*answer["verify_steps"], *steps, *(["hardware_python"] if answer.get("hardware") else []))


def found_targets(answer: dict[str, Any]) -> dict[str, Any]:
    """Return what a search for the fastest folding tried and found, by BuildResult's names."""
    search = answer.get("search", {"probes": [], "best": None, "complete": False})
    return {"probes": tuple(search["probes"]), "best": search["best"], "all_faster_tried": search["complete"]}


def figures(report: Path) -> dict[str, Any]:
    """Return the estimates by BuildResult's names, None where FINN wrote none."""

    def read(name: str) -> dict[str, Any]:
        path = report / name
        return json.loads(path.read_text()) if path.exists() else {}

    speed = read("estimate_network_performance.json")
    total = read("estimate_layer_resources.json").get("total", {})
    kinds = {"lut": "LUT", "bram_18k": "BRAM_18K", "uram": "URAM", "dsp": "DSP"}
    return {
        "fps": speed.get("estimated_throughput_fps"),
        "cycles": speed.get("max_cycles"),
        "latency_ns": speed.get("estimated_latency_ns"),
        **{ours: round(total[theirs]) if theirs in total else None for ours, theirs in kinds.items()},
    }


def unfinished(status: int | None, out: Path, timeout_s: float) -> str:
    """Return the reason of a process that left no answer."""
    log = out / "build_dataflow.log"
    steps = re.findall(r"Running step: (\w+)", log.read_text(errors="replace")) if log.exists() else []
    where = f"in {steps[-1]}" if steps else "while starting"
    if status is None:
        return f"the compiler was ended after {timeout_s:g} s {where}; allow more with timeout_s"
    return f"the compiler's process broke off {where} with exit status {status}"


def check_machine(reason: str, log: Path, *places: Path) -> None:
    """See that a build was not broken off by this machine, which says nothing of the network.

    Args:
        reason: why the build counts as refused.
        log: of the compiler.
        places: folders that it writes to, its output first.

    Raises:
        OSError: a disk is full, or no more files may be opened.
    """
    for place in places:
        disk = os.statvfs(place)
        if disk.f_bavail * disk.f_frsize < _ROOM:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(place))
    said = "\n".join([reason, *log.read_text(errors="replace").splitlines()[-_LAST:]])
    for number in _MACHINES:
        if os.strerror(number) in said:
            raise OSError(number, os.strerror(number), str(places[0]))
