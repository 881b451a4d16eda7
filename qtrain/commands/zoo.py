"""Commands that look at a network before it is trained: ``models`` and ``lint``."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from jsonargparse import Namespace

from qtrain.commands.families import check_has_bits, families_like
from qtrain.commands.options import add_data, add_network_options, data_options, network_options
from qtrain.commands.parser import Parser
from qtrain.commands.status import LINT_FAILED
from qtrain.commands.voice import Voice
from qtrain.errors import UserError
from qtrain.experiments.zoo import zoo
from qtrain.recipe import shipped_recipes
from qtrain.report.networks import print_family, print_layers, print_zoo

if TYPE_CHECKING:
    from qtrain.experiments.targets import BuiltFor


def lint_parser() -> Parser:
    """Make the parser of ``lint``."""
    parser = Parser(
        description="Check a network against what FINN takes, before it is trained; exit status 1 where FINN would "
        "refuse it or get it wrong.",
        examples=(
            "qtrain lint CNV_1W1A",
            "qtrain lint my_net.py:Net --input-shape 1,28,28",
            "qtrain lint my_net.py:Net --bits 4 --data ./flowers --image-size 48",
            "qtrain lint model.onnx",
        ),
    )
    about = "CNV_1W1A, a run folder, model.onnx, my_net.py:Net, or my_module:Net (from here)"
    parser.add("target", type=str, help=about, completes="file")
    _add_shape(parser)
    parser.add("--json", action="store_true", help="print the findings as JSON")
    return parser


def _add_shape(parser: Parser) -> None:
    """Add the options that say what a network is built for."""
    about = "of one input: channels,height,width; default 3,32,32"
    parser.add("--input_shape", type=str | None, help=about, takes="C,H,W", listed=True)
    add_network_options(parser)
    parser.add(
        "--net_args", type=dict[str, Any] | None, help="arguments of a network of your own: {depth: 3}", rare=True
    )
    add_data(parser, "data set or data of your own, whose classes and shape the network is to have")


def models_parser() -> Parser:
    """Make the parser of ``models``."""
    parser = Parser(
        description="List the networks there are, what is known of one, or its layers, whose paths --bits takes.",
        examples=(
            "qtrain models",
            "qtrain models resnet",
            "qtrain models CNV",
            "qtrain models CNV_1W1A --width 0.5",
            "qtrain models my_net.py:Net --bits 4 --data ./flowers",
        ),
    )
    about = (
        "a part of a family's name (resnet) or all of it (CNV); with its bit widths (CNV_1W1A), or of a network of "
        "your own (my_net.py:Net), its layers"
    )
    parser.add("network", nargs="?", type=str | None, help=about, completes="family")
    _add_shape(parser)
    parser.add("--json", action="store_true", help="print as JSON")
    return parser


def lint_command(parser: Parser, words: list[str], options: Namespace) -> int:
    """Say what FINN would refuse."""
    Voice().loading()
    from qtrain.experiments.targets import lint_target
    from qtrain.report.findings import print_findings

    found = lint_target(options.target, _built_for(options), **network_options(options))
    findings = [asdict(finding) for finding in found]
    if options.json:
        print(json.dumps(findings, indent=2))
    else:
        print_findings(findings)
    return LINT_FAILED if any(finding["severity"] == "error" for finding in findings) else 0


def _built_for(options: Namespace) -> "BuiltFor":
    """Return what the options of ``_add_shape`` say a network is built for."""
    from qtrain.experiments.targets import BuiltFor, parse_shape

    shape = None if options.input_shape is None else parse_shape(options.input_shape)
    return BuiltFor(shape, options.data, options.data_root, data_options(options), options.net_args or {})


def models_command(parser: Parser, words: list[str], options: Namespace) -> int:
    """List the networks, tell of one family, or list the layers of one network."""
    named = families_like(options.network or "")
    if named:
        of_one = ("input_shape", "data", "net_args")
        if given := [*network_options(options), *(name for name in of_one if options[name] is not None)]:
            flags = ", --".join(name.replace("_", "-") for name in given)
            raise UserError(f"name a network for --{flags}, for instance: qtrain models {named[0]}_1W1A")
        rows = [row for row in zoo() if row["network"] in named]
        if options.json:
            print(json.dumps(rows, indent=2))
        elif len(rows) == 1:
            print_family(rows[0], [data for family, data in shipped_recipes() if family == named[0].lower()])
        else:
            print_zoo(rows)
        return 0
    check_has_bits(options.network)
    Voice().loading()
    from qtrain.experiments.targets import describe_target

    name, sizes, activations = describe_target(options.network, _built_for(options), **network_options(options))
    layers = [asdict(layer) for layer in sizes.layers]
    if options.json:
        print(json.dumps({"network": name, "layers": layers, "activations": activations}, indent=2))
    else:
        print_layers(name, layers, activations)
    return 0
