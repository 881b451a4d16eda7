"""How Brevitas computes a scale, read from its modules, so that the scales of many layers can be computed at once.

Two ways are known: a trained number in the logarithmic domain, and the mean magnitude of weights; both with and without
rounding to powers of two. Whatever else a quantizer does is left to Brevitas' own modules, layer by layer.
"""

from dataclasses import dataclass
from typing import Any

import torch
from brevitas.core.function_wrapper import (
    Identity,
    LogTwo,
    OverOutputChannelView,
    OverTensorView,
    RoundSte,
    ScalarSignedClampMinSte,
)
from brevitas.core.function_wrapper.misc import Abs
from brevitas.core.restrict_val import FloatRestrictValue, LogFloatRestrictValue, PowerOfTwoRestrictValue
from brevitas.core.scaling import ParameterScaling, StatsFromParameterScaling
from brevitas.core.stats.view_wrapper import _ViewParameter
from torch import Tensor, nn

from qtrain.models.quantizers import MeanMagnitude


@dataclass(frozen=True)
class ScaleRule:
    """The steps that lead to a range, which is divided by the largest integer afterwards.

    Attributes:
        learned: the range is 2 to the power of a parameter; else the mean magnitude of weights times ``factor``.
        rounds: the range is rounded to a power of two.
        per_channel: of statistics, one for each output channel.
        factor: of statistics.
        least: of statistics, the smallest range.
    """

    learned: bool
    rounds: bool
    per_channel: bool = False
    factor: float = 1.0
    least: float = 0.0


def scale_rule(quantizer: Any) -> ScaleRule | None:
    """Return the rule of a Brevitas integer quantizer; None where its scale is computed in a way not known here."""
    scaling = quantizer.scaling_impl
    if type(scaling) is ParameterScaling:
        return _learned(scaling)
    if type(scaling) is StatsFromParameterScaling:
        return _statistics(scaling)
    return None


@torch.no_grad()
def divisor(quantizer: Any) -> Tensor:
    """Return what Brevitas divides the range by: the largest integer, after the way that the range itself goes.

    In the logarithmic domain it is 2 to the power of its logarithm, which may be another float.

    Args:
        quantizer: one that has a rule.
    """
    scaling = quantizer.scaling_impl
    owner = scaling if type(scaling) is ParameterScaling else scaling.stats_scaling_impl
    steps = quantizer.int_scaling_impl(quantizer.msb_clamp_bit_width_impl())
    found: Tensor = owner.restrict_clamp_threshold(owner.restrict_threshold_pre(steps))
    return found.float()


def _learned(scaling: Any) -> ScaleRule | None:
    restriction = scaling.restrict_clamp_scaling
    if type(restriction.clamp_ste) is not Identity or not _does_nothing(scaling.restrict_clamp_scale_threshold):
        return None
    if type(restriction.restrict_value_impl) is LogFloatRestrictValue:
        return ScaleRule(learned=True, rounds=False)
    return ScaleRule(learned=True, rounds=True) if _is_power_of_two(restriction.restrict_value_impl) else None


def _statistics(scaling: Any) -> ScaleRule | None:
    found = scaling.parameter_list_stats
    chain = scaling.stats_scaling_impl
    magnitude = found.stats.stats_impl
    if type(found.first_tracked_param) is not _ViewParameter or found.extra_tracked_params_list is not None:
        return None
    if type(magnitude) is not MeanMagnitude or type(chain.affine_rescaling) is not Identity:
        return None
    view = found.first_tracked_param.view_shape_impl
    whole = type(view) is OverTensorView and magnitude.stats_reduce_dim is None
    rows = type(view) is OverOutputChannelView and type(view.permute_impl) is Identity
    if not whole and not (rows and magnitude.stats_reduce_dim == 1):
        return None
    clamps = (chain.clamp_scaling.clamp_min_ste, chain.restrict_clamp_scaling.clamp_ste)
    if any(type(clamp) is not ScalarSignedClampMinSte for clamp in clamps) or clamps[0].min_val != clamps[1].min_val:
        return None
    if not _does_nothing(chain.restrict_clamp_scale_threshold):
        return None
    restriction = chain.restrict_clamp_scaling.restrict_value_impl
    plain = type(restriction) is FloatRestrictValue and type(chain.restrict_scaling_pre) is Abs
    rounds = _is_power_of_two(restriction) and type(chain.restrict_scaling_pre) is LogTwo
    if not plain and not rounds:
        return None
    return ScaleRule(False, rounds, not whole, float(magnitude.factor), float(clamps[0].min_val))


def _is_power_of_two(restriction: nn.Module) -> bool:
    return type(restriction) is PowerOfTwoRestrictValue and type(restriction.float_to_int_impl) is RoundSte


def _does_nothing(restriction: Any) -> bool:
    return type(restriction.restrict_value_impl) is Identity and type(restriction.clamp_ste) is Identity
