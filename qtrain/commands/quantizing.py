"""``qtrain quantize``: a float network of one's own to a FINN-safe one, calibrated on data."""

from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from qtrain.commands.again import command_line
from qtrain.commands.options import add_data, data_options
from qtrain.commands.parser import Parser
from qtrain.commands.voice import add_voice, voice_of
from qtrain.errors import UserError
from qtrain.models.asked import split_bits
from qtrain.models.names import parse_name
from qtrain.recipe import Recipe
from qtrain.training.context import RunContext
from qtrain.training.progress import tell


def quantize_parser() -> Parser:
    """Make the parser of ``quantize``."""
    parser = Parser(
        description="Make a float network of your own FINN-safe at any bits, calibrated on training images, and say "
        "what it loses before training.",
        examples=(
            "qtrain quantize my_net.py:Net --init-from float.pt --data ./flowers --bits 4 --out q.py",
            "qtrain train q.py:Net --bits 4 --data ./flowers --init-from q.pt",
        ),
    )
    parser.add("network", type=str, help="float module of your own, my_module:Net, or a run folder of one")
    about = "its trained weights: a file of a state dict"
    parser.add("--init_from", type=str | None, help=about, takes="FILE", completes="file")
    parser.add("--net_args", type=dict[str, Any] | None, help="its arguments: {depth: 3}")
    parser.add("--bits", type=str, default="8", help="of the quantized network: 4, or 1W4A", listed=True)
    parser.add("--scaling", type=str, default="auto", help="where ranges come from: learned (auto) or statistics")
    about = "taken off images in [0, 1] before: 0.5 or one a channel 0.5,0.4,0.4"
    parser.add("--mean", type=str, default="0", help=about, takes="X,X,X", listed=True)
    about = "that they were divided by then, likewise"
    parser.add("--std", type=str, default="1", help=about, takes="X,X,X", listed=True)
    parser.add("--seed", type=int, default=0, help="of the validation split")
    add_data(parser, "data set or data of your own that it was trained on")
    about = "file of code, weights beside it; or a run folder to make"
    parser.add("--out", type=str, default="quantized.py", help=about, takes="FILE", completes="file")
    add_voice(parser)
    return parser


def quantize_command(parser: Parser, words: list[str], options: Namespace) -> int:
    """Quantize a float network, and print what was changed and what it loses."""
    if options.data is None and not Path(options.network).is_dir():
        raise UserError("name the data that the network was trained on, with --data; ranges are calibrated on them")
    widths, expression = split_bits(options.bits)
    if len(widths) != 1 or expression or widths == ["FLOAT"]:
        raise UserError(f"bits must be one width, such as 4 or 1W4A, but got {options.bits!r}")
    asked = parse_name(f"own:Net_{widths[0]}")
    how = data_options(options)
    given = Recipe(
        "",
        options.data or "",
        net_args=options.net_args or {},
        init_from=options.init_from,
        scaling=options.scaling,
        seed=options.seed,
        image_size=None if how.image_size is None else options.image_size,
        channels=how.channels,
        layout=how.layout,
        value_range=how.value_range,
    )
    voice = voice_of(options)
    voice.loading()
    from qtrain.experiments.quantize import float_recipe, quantize_network

    recipe, run = float_recipe(options.network, given)
    with voice.at_work("quantizing"):
        made = quantize_network(
            recipe,
            Path(options.out),
            RunContext(options.data_root, say=voice.say),
            weight_bits=asked.weight_bits,
            act_bits=asked.act_bits,
            mean=_numbers("mean", options.mean),
            std=_numbers("std", options.std),
            run=run,
        )
    for note in made.notes:
        voice.say(note)
    measured = ", ".join(f"{name} {value:.2f} %" for name, value in made.accuracies.items())
    tell(f"validation accuracy before training: {measured}")
    start = made.out.with_suffix(".pt") if made.out.suffix == ".py" else made.out
    onward = command_line("train", made.network, "--data", recipe.data, "--init-from", start)
    tell(f"{made.out}: go on with {onward}")
    return 0


def _numbers(name: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise UserError(f"{name} must be a number, or one a channel such as 0.5,0.4,0.4, but got {text!r}") from None
