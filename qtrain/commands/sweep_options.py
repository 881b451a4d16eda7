"""What ``qtrain sweep`` can be given."""

from typing import Any, Literal

from qtrain.commands.engine import ENGINE, add_engine
from qtrain.commands.options import LIMITED, RECIPES, add_board, add_limits, add_log, add_machine, add_recipe
from qtrain.commands.parser import Parser
from qtrain.commands.voice import add_voice

Cost = Literal["bops", "lut"]
Pruner = Literal["none", "median"]
Start = Literal["random", "sensitivity"]
# Where the cells run, not what they are: --resume may bring others.
MACHINE = (*ENGINE, "data_root", "device", "log")
LIMITS = (*(f"max_{name}" for name, _ in LIMITED), "min_fps", "min_accuracy")  # that the winner keeps within
RESUMABLE = ("resume", "again", "quiet", "verbose", *LIMITS, *MACHINE)
WHERE = ("out", *LIMITS, *MACHINE)  # not in the recorded command: another machine repeats it


def sweep_parser() -> Parser:
    """Make the parser of ``sweep``."""
    parser = Parser(
        description="Train one recipe at every bit width, prove, lint, export and estimate each; write a table and an "
        "interactive page of accuracy against cost. Exit status 1 where a cell failed. --bits 'first=8,last=8;none' is "
        f"an axis too. {RECIPES}",
        examples=(
            "qtrain sweep CNV --weight-bits 1,2,4,8 --act-bits 1,2,4,8 --data digits",
            "qtrain sweep CNV --weight-bits 1,2,4,8 --data digits --seeds 3 --board ZCU104 --jobs 4",
            "qtrain sweep --resume runs/sweep-CNV-digits",
            "qtrain sweep --resume runs/sweep-CNV-digits --max-lut 50% --min-fps 1000",
        ),
    )
    add_recipe(parser, "family")
    _add_own(parser)
    add_board(parser, None)
    add_limits(parser, rare=True)
    parser.add("--min_fps", type=int | None, help="frames a second that the winner must reach", rare=True)
    add_engine(parser, "cell")
    add_machine(parser)
    add_log(parser)
    add_voice(parser)
    return parser


def _add_own(sweep: Parser) -> None:
    """Add the options that are the sweep's own."""
    sweep.add("--weight_bits", type=str | None, help="widths of the weights: 1,2,4,8", takes="N,N", listed=True)
    sweep.add(
        "--act_bits",
        type=str | None,
        help="widths of the activations; default the weights' own",
        takes="N,N",
        listed=True,
    )
    sweep.add("--seeds", type=int, default=1, help="runs of each cell, counted from --seed")
    sweep.add(
        "--from",
        type=int | None,
        help="warm starts too: 8 trains every cell also from its wider neighbour's weights, beginning at 8 bits, and "
        "from scratch for as many epochs in all",
        rare=True,
    )
    sweep.add("--search", type=int | None, help="beyond the cells, so many trials of other bits in each layer")
    sweep.add("--search_cost", type=Cost | None, help="with --search; default bops", rare=True)
    sweep.add("--search_epochs", type=int | None, help="of a trial; default a third of --epochs", rare=True)
    sweep.add(
        "--search_pruner",
        type=Pruner | None,
        help="with --search: default none; median ends trials that fall behind those that cost no more",
        rare=True,
    )
    sweep.add(
        "--search_from",
        type=Start | None,
        help="with --search: default random; sensitivity measures how sensitive each layer of the widest cell is, and "
        "trains first what that proposes",
        rare=True,
    )
    folder: dict[str, Any] = {"type": str | None, "takes": "FOLDER", "completes": "folder"}
    sweep.add("--out", help="folder; default runs/sweep-FAMILY-DATA", **folder)
    sweep.add("--resume", help="folder of a sweep to go on with", **folder)
    sweep.add("--again", action="store_true", help="with --resume: try cells anew that failed")
