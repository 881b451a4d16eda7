"""Commands that look at a network before it is trained: ``models`` and ``lint``."""

import json
from dataclasses import asdict
from typing import Any

from jsonargparse import Namespace

from qtrain.commands.loading import say_loading
from qtrain.commands.options import add_data, add_network_options, data_options, network_options
from qtrain.commands.parser import Parser
from qtrain.commands.status import LINT_FAILED
from qtrain.errors import UserError
from qtrain.experiments.zoo import zoo
from qtrain.report.networks import print_layers, print_zoo


def lint_parser() -> Parser:
    """Make the parser of ``lint``."""
    parser = Parser(
        description="Check a network against what FINN takes, before it is trained; exit status 1 where FINN would "
        "refuse it or get it wrong."
    )
    parser.add("target", type=str, help="CNV_1W1A, a run folder, model.onnx, or my_module:MyNet (from here)")
    parser.add("--input_shape", type=str | None, help="of one input: channels,height,width; default 3,32,32")
    add_network_options(parser)
    parser.add("--net_args", type=dict[str, Any] | None, help="arguments of a network of your own: {depth: 3}")
    add_data(parser, "data set or data of your own, whose classes and shape the network is to have")
    parser.add("--json", action="store_true", help="print the findings as JSON")
    return parser


def models_parser() -> Parser:
    """Make the parser of ``models``."""
    parser = Parser(description="List the networks there are, or one network's layers, whose paths --bits takes.")
    parser.add("network", nargs="?", type=str | None, help="name with its bit widths; all families without")
    add_network_options(parser)
    parser.add("--json", action="store_true", help="print as JSON")
    return parser


def lint_command(parser: Parser, words: list[str], options: Namespace) -> int:
    """Say what FINN would refuse."""
    say_loading()
    from qtrain.experiments.targets import lint_target, parse_shape
    from qtrain.report.findings import print_findings

    shape = None if options.input_shape is None else parse_shape(options.input_shape)
    found = lint_target(
        options.target,
        shape,
        data=options.data,
        data_root=options.data_root,
        data_options=data_options(options),
        net_args=options.net_args,
        **network_options(options),
    )
    findings = [asdict(finding) for finding in found]
    if options.json:
        print(json.dumps(findings, indent=2))
    else:
        print_findings(findings)
    return LINT_FAILED if any(finding["severity"] == "error" for finding in findings) else 0


def models_command(parser: Parser, words: list[str], options: Namespace) -> int:
    """List the networks, or the layers of one."""
    if options.network is None:
        if given := network_options(options):
            raise UserError(f"name a network for --{', --'.join(given)}, for instance: qtrain models CNV_1W1A")
        rows = zoo()
        print(json.dumps(rows, indent=2)) if options.json else print_zoo(rows)
        return 0
    say_loading()
    from qtrain.experiments.networks import describe

    name, sizes, activations = describe(options.network, **network_options(options))
    layers = [asdict(layer) for layer in sizes.layers]
    if options.json:
        print(json.dumps({"network": name, "layers": layers, "activations": activations}, indent=2))
    else:
        print_layers(name, layers, activations)
    return 0
