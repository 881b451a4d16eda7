"""What lint finds: one frozen record, in the user's names."""

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
WHOLE = "the network"

# What FINN says most often, and where it says it; the middle one is ours (custom_steps.py).
UNMAPPED = "Unsupported/unmapped layer(s) found in between FINN operators: {}"
TO_FINN = "step_qonnx_to_finn"
LOWERING = "step_lower_convolutions"
PARTITION = "step_create_dataflow_partition"
# What goes wrong before FINN has a step to say it in.
TRAINING = "before FINN: the training"
TORCH = "before FINN: torch itself"
EXPORT = "before FINN: the export"


@dataclass(frozen=True)
class Finding:
    """One thing that FINN would refuse, get wrong or do only in part.

    Attributes:
        rule: name of the rule, e.g. ``average-pool``.
        severity: ``error``: no build; ``warning``: not on every compiler, or not what torch computes; ``note``: worth
            knowing.
        layer: path of the module in the user's own names, ``the network`` for all of it.
        says: what FINN says, or does without saying so.
        step: FINN's step in which it happens, or what happens before there is a step.
        mend: the change that mends it.
    """

    rule: str
    severity: Severity
    layer: str
    says: str
    step: str
    mend: str


@dataclass(frozen=True)
class Spot:
    """Where the function of a rule found what it looks for; with the rule's row it becomes a ``Finding``.

    Attributes:
        layer: path of the module in the user's own names, ``the network`` for all of it.
        says: what FINN says of it, or does without saying so.
        mend: the change that mends this case; empty where it is the one in the rule's row.
        step: FINN's step in this case; empty where it is the one in the rule's row.
        position: place in the graph of the node that was looked at; 0 where no node was.
    """

    layer: str
    says: str
    mend: str = ""
    step: str = ""
    position: int = 0
