"""Limits that no network keeps within: what the nearest ones miss, in numbers, asked of the compiler itself."""

from qtrain.errors import UserError
from qtrain.experiments.fit.choose import Choice, Solver
from qtrain.experiments.fit.compiled import Bench, Question
from qtrain.experiments.fit.cost import KINDS
from qtrain.experiments.fit.plan import FitPlan


def check_possible(plan: FitPlan, solver: Solver, bench: Bench) -> None:
    """See that some network keeps within the limits, by the cost model.

    Raises:
        UserError: none does; says what the nearest networks need.
    """
    slowest = solver.model.floor
    if slowest > plan.cycles:
        reach = 1e9 / plan.target.clock_ns / slowest
        raise UserError(
            f"no network fits: windows and pools alone take {slowest:,} cycles a frame, which is {reach:,.0f} of "
            f"{plan.target.fps:,} frames/s; ask for fewer, or give a faster clock"
        )
    if solver.choose(plan.limits["LUT"]) is not None:
        return
    misses = [text for kind in KINDS if (text := _miss(plan, solver, bench, kind))]
    raise UserError(
        f"no network fits {plan.board.label} at {plan.target.fps:,} frames/s within the limits; the nearest: "
        f"{'; '.join(misses) or 'each limit alone can be kept, all of them together cannot'}"
    )


def _miss(plan: FitPlan, solver: Solver, bench: Bench, kind: str) -> str:
    """Return what the network needs that takes least of a resource within the other limits; empty where it fits."""
    others = {name: most for name, most in plan.limits.items() if name != kind}
    found = solver.least(kind, others)
    if found is None:
        return ""
    text = f"{found.predicted[kind]:,.0f} {kind} of {plan.limits[kind]:,.0f} ({_bits(found)})"
    return f"{text}, {_said(found, bench)}"


def _bits(choice: Choice) -> str:
    widths = sorted(set(choice.bits.values()))
    return f"{widths[0]} to {widths[-1]} bits" if len(widths) > 1 else f"{widths[0]} bits"


def _said(choice: Choice, bench: Bench) -> str:
    """Return what the compiler itself says of a network, with its own folding."""
    network, _ = bench.ask(Question("nearest", choice.bits))
    used = network.used
    return f"by the compiler {used['LUT']:,} LUT, {used['BRAM_18K']:,} BRAM_18K, {used['DSP']:,} DSP as FINN folds it"
