"""The search for the fastest folding that fits, inside the compiler's own process.

``_worker.py`` loads this file by its path; it imports nothing of qtrain. Only what depends on the folding is run
again, from the graph behind ``step_specialize_layers`` on: FINN's folding, its bit widths and its estimates.

A target is a whole number of frames/s, as FINN's configuration takes it. Cycles are discrete, so most targets fold
alike: a folding of ``a`` cycles serves all targets up to clock/a, and the search jumps over them. What is folded for
more frames/s is not always larger: memories of another shape may waste less. So bisection is not enough.

FINN widens a matrix unit only until its weight stream has ``mvau_wwidth_max`` bits. Where the fastest folding so far
fits, the search goes on with wider streams.

Where a folding does not fit in FINN's own memory styles and resource types, ``_styles.py`` chooses others if some fit.
"""

from __future__ import annotations

import json
import math
import shutil
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

START = "step_specialize_layers"
LAST = "step_generate_estimate_reports"
STYLES = "styles.json"  # in the build's folder: the styles that are not FINN's own, as a folding of FINN's
KINDS = ("LUT", "BRAM_18K", "URAM", "DSP")
MOST_PROBES = 80
CLOSE = 1.1  # ratio of the bounds at which bisection ends
SAMPLES = 8  # targets above the best, evenly spaced in their logarithm
WIDTHS = (36, 128, 1024, 8191)  # of a weight stream in bits: FINN's default, up to the widest that its HLS code takes
Probe = dict[str, Any]


def whole(fps: float) -> int:
    """The largest target that so many frames/s meet: quotients of the clock, 1e-8 from a whole number or rounded."""
    return math.floor(fps * (1 + 1e-12))


class Targets:
    """What was tried, and which targets fold as one that was tried.

    Args:
        probe: folds for a target, in frames/s, and returns ``fps`` and ``fits`` with whatever else it knows.
    """

    def __init__(self, probe: Callable[[int], Probe]) -> None:
        self._probe = probe
        self._spans: list[tuple[int, int]] = []  # first and last target of those that fold alike
        self.probes: list[Probe] = []
        self.best = 0  # whole frames/s of the fastest folding that fits

    @property
    def spent(self) -> bool:
        """Whether no probe is left."""
        return len(self.probes) >= MOST_PROBES

    def take(self, target: int) -> int:
        """Fold for a target unless that is known; return the last target that folds alike."""
        known = max((last for first, last in self._spans if first <= target <= last), default=None)
        if known is not None or self.spent:
            return target if known is None else known
        found = self._probe(target)
        self.probes.append(found)
        reached = whole(found["fps"])
        if "error" in found:
            self._spans.append((target, target))
        else:  # where FINN misses a target, so it does every one above what it reached
            self._spans.append((min(target, reached + 1), max(target, reached)))
        if found["fits"]:
            self.best = max(self.best, reached)
        return self._spans[-1][1]


def search_targets(probe: Callable[[int], Probe], first: int, fastest: int) -> tuple[list[Probe], bool]:
    """Look for the largest target that fits: bounds, bisection, samples above it, then each faster folding in turn.

    Args:
        probe: folds for a target, in frames/s, and returns ``fps`` and ``fits`` with whatever else it knows.
        first: target to begin with.
        fastest: the largest target that makes sense, one clock cycle for a frame.

    Returns:
        Every probe, in the order they were made, and whether every folding faster than the best was tried.
    """
    known = Targets(probe)
    known.take(min(first, fastest))
    known.take(fastest)
    reached = whole(known.probes[-1]["fps"])
    top = reached or fastest - 1  # 0 where FINN could not fold so far
    if known.best >= reached > 0:
        known.take(reached)  # fits at the end of what is possible; this target is one that is met
        return known.probes, True
    if not known.best:
        known.take(1)
    low, high = known.best, top
    while low and high - low > 1 and high > CLOSE * low and not known.spent:
        middle = max(math.isqrt(low * high), low + 1)
        known.take(middle)
        low, high = (known.best, high) if known.best >= middle else (low, middle)
    low = max(known.best, 1)
    for i in range(1, SAMPLES + 1):
        known.take(round(low * (top / low) ** (i / (SAMPLES + 1))))
    target = known.best + 1
    while known.best and target <= top and not known.spent:
        target = known.take(target) + 1
    return known.probes, known.best > 0 and target > top


def search_widths(
    probe: Callable[..., Probe], first: int, fastest: int, widths: Sequence[int]
) -> tuple[list[Probe], bool]:
    """Search at each width of weight streams, until the board is full or wider ones are no faster.

    Args:
        probe: folds for a target, in frames/s, at a ``width``.
        first: as of ``search_targets``.
        fastest: as of ``search_targets``.
        widths: in bits, from narrow to wide.

    Returns:
        As ``search_targets``, of the widths that were tried.
    """
    probes: list[Probe] = []
    complete, top = False, 0.0
    for width in widths:
        found, all_tried = search_targets(partial(probe, width=width), first, fastest)
        probes += found
        largest = max(found, key=lambda one: one["fps"])
        if largest["fps"] <= top:
            break
        complete, top, first = all_tried, largest["fps"], fastest
        if not largest["fits"]:
            break
    return probes, complete


def search(
    config: dict[str, Any],
    steps: Sequence[Callable[..., Any]],
    limits: dict[str, float],
    width: int | None,
    styles: Any,
) -> dict[str, Any]:
    """Search, and leave the reports and the graphs of the best folding in the build's folder.

    Args:
        config: the finished build's configuration, with its first target.
        steps: the build's steps, as functions.
        limits: the most that may be used of LUT, BRAM_18K, URAM and DSP.
        width: of weight streams, in bits; None tries ``WIDTHS``.
        styles: the module ``_styles``.

    Returns:
        ``probes``; ``best``, the one that fits with the most frames/s, or None; ``complete``, whether every folding
        faster than it was tried, at the widths that were tried. A probe that fits only in other styles than FINN's own
        has them in ``styles``, and what it takes in FINN's own in ``own``.
    """
    names = [step.__name__ for step in steps]
    again = steps[names.index(START) + 1 :]
    out = Path(config["output_dir"])
    scratch = out / "search"

    def probe(target: int, width: int) -> Probe:
        asked = {"target_fps": target, "mvau_wwidth_max": width}
        found = {**asked, **_fold({**config, **asked}, again, scratch, limits, styles)}
        found["fits"] = "error" not in found and _within(found, limits)
        print(f"Folded for {target} frames/s: {found}")
        return found

    fastest = int(1e9 / config["synth_clk_period_ns"])
    probes, complete = search_widths(probe, config["target_fps"], fastest, WIDTHS if width is None else (width,))
    shutil.rmtree(scratch, ignore_errors=True)
    fitting = [found for found in probes if found["fits"]]
    best = max(fitting, key=_merit, default=None)
    if best is not None:
        _keep({**config, **{name: best[name] for name in ("target_fps", "mvau_wwidth_max")}}, again, best)
    return {"probes": probes, "best": best, "complete": complete}


def _merit(found: Probe) -> tuple[bool, float, int]:
    """Order probes that fit: those that meet their target first, then by frames/s; of equals FINN's own styles win."""
    return found["fps"] >= found["target_fps"], found["fps"], -len(found.get("styles", ()))


def _within(found: Probe, limits: dict[str, float]) -> bool:
    return all(found[kind] <= limit for kind, limit in limits.items())


def _fold(
    config: dict[str, Any], steps: Sequence[Callable[..., Any]], out: Path, limits: dict[str, float], styles: Any
) -> Probe:
    """Run the steps that depend on the folding; return what they estimate, or FINN's error.

    What does not fit is estimated once more in styles in which it does, if there are any.
    """
    from finn.builder.build_dataflow_config import DataflowBuildConfig

    names = [step.__name__ for step in steps]
    last = names.index(LAST)
    try:
        build = DataflowBuildConfig.from_dict({**config, "output_dir": str(out)})
        model = _start(config)
        for step in steps[:last]:
            model = step(model, build)
        steps[last](model, build)
        found = _estimates(out / "report")
        chosen = {} if _within(found, limits) else styles.choose_for(model, build._resolve_fpga_part(), limits)
        if chosen:
            styles.set_styles(model, chosen)
            steps[last](model, build)
            own = {kind: found[kind] for kind in KINDS}
            found = {**_estimates(out / "report"), "styles": chosen, "own": own}
    except Exception as error:
        traceback.print_exc()
        return {"fps": 0.0, "error": f"{type(error).__name__}: {error}"}
    return found


def _keep(config: dict[str, Any], steps: Sequence[Callable[..., Any]], best: Probe) -> None:
    """Run the steps again for the best probe, and save their graphs; FINN itself sets the styles, as in any build."""
    from finn.builder.build_dataflow_config import DataflowBuildConfig

    out = Path(config["output_dir"])
    if best.get("styles"):
        (out / STYLES).write_text(json.dumps({"Defaults": {}, **best["styles"]}, indent=2))
        config = {**config, "folding_config_file": str(out / STYLES)}
    build = DataflowBuildConfig.from_dict(config)
    model = _start(config)
    for step in steps:
        model = step(model, build)
        model.save(str(out / "intermediate_models" / f"{step.__name__}.onnx"))


def _start(config: dict[str, Any]) -> Any:
    from qonnx.core.modelwrapper import ModelWrapper

    return ModelWrapper(str(Path(config["output_dir"]) / "intermediate_models" / f"{START}.onnx"))


def _estimates(report: Path) -> Probe:
    speed = json.loads((report / "estimate_network_performance.json").read_text())
    total = json.loads((report / "estimate_layer_resources.json").read_text())["total"]
    return {
        "fps": speed["estimated_throughput_fps"],
        "cycles": speed["max_cycles"],
        **{kind: total.get(kind, 0) for kind in KINDS},
    }
