"""Start the real FINN compiler (finn-plus) on a FINN folder, estimates only, and say whether it took the network.

The only place that knows how to run the compiler without Vivado: in a process of its own, with a fresh HOME and build
folder, no network, and inert stand-ins for the simulator (``_worker.py``). ``result.py`` judges what it left.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import site
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from qtrain.errors import UserError
from qtrain.export.compiler.boards import Board, build_target, get_board
from qtrain.export.compiler.child import run_group
from qtrain.export.compiler.result import (
    BuildResult,
    check_machine,
    figures,
    found_targets,
    refusal,
    software_nodes,
    unfinished,
    verified,
)
from qtrain.export.folder.build_files import MVAU_WWIDTH_MAX
from qtrain.export.foreign.arrays import read_npy
from qtrain.extras import checkout, install_line
from qtrain.records.files import temporary_folder
from qtrain.records.leftovers import clear, is_free
from qtrain.records.lock import only_here

ALONE = "finn-plus==1.6.1 mip==1.17.0"  # whose own requirements torch refuses
INSTALL = "install it with " + (
    "`make finn`" if checkout() else f"`{install_line('finn')}` and then `pip install --no-deps {ALONE}`"
)
UNFINISHED = ".unfinished"  # in a build's folder until all is written that belongs there
WORKER = Path(__file__).with_name("_worker.py")
VERIFICATION = {  # FINN compares in these steps, by these names, where the step list holds them
    "step_qonnx_to_finn": "finn_onnx_python",
    "step_tidy_up": "initial_python",
    "step_streamline": "streamlined_python",
}
KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "OMP_NUM_THREADS", "VIRTUAL_ENV", "SYSTEMROOT")


def find_compiler(python: str | None = None) -> str | None:
    """Return the interpreter to run finn-plus with: the one given, ``QTRAIN_FINN_PYTHON``, this one, or None."""
    chosen = python or os.environ.get("QTRAIN_FINN_PYTHON")
    if chosen:
        return chosen
    try:
        importlib.metadata.version("finn-plus")
    except importlib.metadata.PackageNotFoundError:
        return None
    return sys.executable


def compiler_environment(home: Path) -> dict[str, str]:
    """Return the complete environment of the compiler's process; what it writes goes below ``home``.

    Proxies are not passed on. FINN wants ``XILINX_VIVADO`` set, but an estimate never looks at the path.
    """
    kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    folders = {name: str(home) for name in ("HOME", "TMPDIR", "FINN_BUILD_DIR")}
    fixed = {"XILINX_VIVADO": str(home / "no-vivado"), "NUM_DEFAULT_WORKERS": "1", "GIT_ALLOW_PROTOCOL": "file"}
    fixed |= {"PYTHONDONTWRITEBYTECODE": "1"}  # the folder is the user's and stays as it was
    return kept | folders | fixed | {"PYTHONUSERBASE": site.getuserbase()}


def _verification_pair(folder: Path, work: Path, images: int) -> int:
    """Put the first images of the folder's golden pair into the work folder; return how many there are."""
    paths = [folder / "input.npy", folder / "expected_output.npy"]
    if not all(path.exists() for path in paths):
        return 0
    arrays = [read_npy(path)[:images].astype(np.float32) for path in paths]
    counts = {array.shape[:1] for array in arrays}
    if len(counts) > 1 or counts <= {(), (0,)}:
        raise UserError(f"{folder}: input.npy and expected_output.npy must hold as many images, one or more")
    for path, array in zip(paths, arrays, strict=True):
        np.save(work / path.name, array)
    return len(arrays[0])


def _request(
    folder: Path, out: Path, work: Path, board: Board, options: dict[str, Any], images: int, search: dict[str, Any]
) -> Path:
    """Write what the worker is to do; return the file. ``search``: limits and width, empty limits for no search."""
    config = {
        "output_dir": str(out),
        **build_target(board),
        "generate_outputs": ["estimate_reports"],
        "verify_input_npy": str(work / "input.npy"),
        "verify_expected_output_npy": str(work / "expected_output.npy"),
        "save_intermediate_models": True,
        "enable_build_pdb_debug": False,
        **options,
    }
    request = {"folder": str(folder), "config": config, "verification": VERIFICATION if images else {}, **search}
    path = work / "request.json"
    path.write_text(json.dumps(request))
    return path


def _check_free(out: Path) -> None:
    if not is_free(out):
        raise UserError(f"{out} exists and is not empty: name a new folder for the build")


def _check_arguments(folder: Path, out: Path, **positive: float) -> None:
    if not (folder / "model.onnx").is_file():
        raise UserError(f"{folder} is no FINN folder: it holds no model.onnx; make one with `qtrain export`")
    if not (out / UNFINISHED).is_file():
        _check_free(out)
    for name, value in positive.items():
        if not value > 0:
            raise UserError(f"{name} is {value}: it must be above 0")


def estimate_build(
    folder: Path,
    *,
    board: str,
    target_fps: int,
    clock_ns: float = 10.0,
    out: Path,
    timeout_s: float = 900,
    python: str | None = None,
    steps: Sequence[str] | None = None,
    images: int = 4,
    folding: Path | None = None,
    max_fps_within: float | None = None,
    mvau_wwidth_max: int | None = None,
    then: Callable[[BuildResult], None] = lambda _: None,
) -> BuildResult:
    """Build a FINN folder up to FINN's estimates; needs no Vivado and no network.

    Args:
        folder: FINN folder: ``model.onnx``, and for the verification ``input.npy`` and ``expected_output.npy``.
        board: FINN's board name.
        target_fps: frames per second that FINN folds the layers for.
        clock_ns: clock period in nanoseconds.
        out: folder for FINN's output, new or empty; its ``compiler.log`` takes what the process prints.
        timeout_s: seconds after which the compiler and its children are killed.
        python: interpreter that has finn-plus; see `find_compiler` for the default.
        steps: build steps by name; by default those that the folder brings in its ``custom_steps.py``, which is
            executed, else finn-plus' own estimate steps. ``module.step_x`` is a function of a module in the folder.
        images: how many images of the golden pair the finished hardware graph is verified with; two of them after
            each step of the folder's own.
        folding: FINN's folding configuration, which wins over ``target_fps``; None lets FINN fold for the target.
        max_fps_within: share of the board's LUT, BRAM, URAM and DSP within which the fastest folding is searched,
            from ``target_fps`` on; the result and FINN's reports are then those of the best that fits, where one does.
        mvau_wwidth_max: bits of weights a cycle, up to which FINN widens each processing element of a matrix unit.
            None is FINN's 36, with a search also wider ones where the fastest folding fits.
        then: called with the result before ``out`` counts as finished; a build that is killed before may be repeated.

    Raises:
        UserError: finn-plus is missing or too old, the folder or an argument is wrong, ``out`` holds things.
        OSError: a disk is full, or the compiler may open no more files.
    """
    target = get_board(board)
    folder = folder.resolve()
    out = out.resolve()
    width = MVAU_WWIDTH_MAX if mvau_wwidth_max is None else mvau_wwidth_max
    positive = {"target_fps": target_fps, "clock_ns": clock_ns, "mvau_wwidth_max": width}
    _check_arguments(folder, out, **positive, timeout_s=timeout_s)
    interpreter = find_compiler(python)
    if interpreter is None or shutil.which(interpreter) is None:
        raise UserError(f"no FINN compiler: {interpreter or sys.executable} has no finn-plus; {INSTALL}")
    options = {
        "target_fps": target_fps,
        "mvau_wwidth_max": width,
        "synth_clk_period_ns": clock_ns,
        "steps": list(steps) if steps is not None else None,
        "folding_config_file": str(folding.resolve()) if folding is not None else None,
    }
    share = max_fps_within
    limits = {kind: share * has for kind, has in target.resources.items()} if share is not None else {}
    search = {"limits": limits, "width": mvau_wwidth_max}
    with only_here(out):
        mark = _marked(out)
        try:
            with temporary_folder("qtrain-finn-") as work:
                count = _verification_pair(folder, work, images)
                request = _request(folder, out, work, target, options, count, search)
                build = _run(interpreter, request, out, count, timeout_s)
        except BaseException:  # Ctrl-C too: leave nothing half-written behind
            clear(out, last=UNFINISHED)
            raise
        try:
            then(build)
        except (Exception, SystemExit):  # for what FINN answered, which stays
            mark.unlink()
            raise
        mark.unlink()
    return build


def _marked(out: Path) -> Path:
    """Make a build's folder with a mark in it that it is unfinished, and return that; one that was killed is cleared.

    Raises:
        UserError: the folder holds other things, or cannot be written.
    """
    mark = out / UNFINISHED
    if mark.is_file():
        clear(out, last=UNFINISHED)
    _check_free(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        mark.touch()
    except OSError as error:
        raise UserError(f"cannot make the build folder {out}: {error.strerror}; name one you may write to") from None
    return mark


def _run(interpreter: str, request: Path, out: Path, images: int, timeout_s: float) -> BuildResult:
    """Run the worker on a request and judge what it left."""
    log = out / "compiler.log"
    work = request.parent
    command = [interpreter, "-P", "-u", str(WORKER), str(request)]  # -P: our files must not shadow qonnx or finn
    start = time.monotonic()
    status = run_group(command, env=compiler_environment(work), cwd=work, log=log, timeout_s=timeout_s)
    seconds = time.monotonic() - start
    path = work / "answer.json"
    answer = json.loads(path.read_text()) if status == 0 and path.exists() else {"versions": {}}
    if answer.get("unusable"):
        raise UserError(f"no FINN compiler: in {interpreter}, {answer['unusable']}; {INSTALL}")
    common = {"seconds": seconds, "versions": answer["versions"], "log": log, **figures(out / "report")}
    if "exit_code" not in answer:
        reason = unfinished(status, out, timeout_s)
        check_machine(reason, log, out, work.parent)
        return BuildResult(accepted=False, reason=reason, software_nodes=(), **common)
    nodes = software_nodes(out / "intermediate_models", answer["steps"])
    refused = refusal(out, answer, images, nodes)
    if refused:
        check_machine(refused, log, out, work.parent)
    common |= found_targets(answer)
    checked = () if refused else verified(answer)
    reason = refused or "the whole network is one dataflow partition"
    return BuildResult(accepted=refused is None, reason=reason, software_nodes=nodes, verified=checked, **common)
