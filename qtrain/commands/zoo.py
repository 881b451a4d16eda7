"""Commands that look at a network before it is trained: ``models`` and ``lint``."""

import json
from dataclasses import asdict

from jsonargparse import ArgumentParser, Namespace

from qtrain.arguments import network_options
from qtrain.commands.status import LINT_FAILED
from qtrain.errors import UserError


def lint_command(parser: ArgumentParser, argv: list[str], options: Namespace) -> int:
    """Say what FINN would refuse."""
    from qtrain.experiments.targets import lint_target, parse_shape
    from qtrain.report.findings import print_findings

    shape = None if options.input_shape is None else parse_shape(options.input_shape)
    findings = [asdict(finding) for finding in lint_target(options.target, shape, **network_options(options))]
    if options.json:
        print(json.dumps(findings, indent=2))
    else:
        print_findings(findings)
    return LINT_FAILED if any(finding["severity"] == "error" for finding in findings) else 0


def models_command(parser: ArgumentParser, argv: list[str], options: Namespace) -> int:
    """List the networks, or the layers of one."""
    from qtrain.experiments.networks import describe, zoo
    from qtrain.report.networks import print_layers, print_zoo

    if options.network is None:
        if given := network_options(options):
            raise UserError(f"name a network for --{', --'.join(given)}, for instance: qtrain models CNV_1W1A")
        rows = zoo()
        print(json.dumps(rows, indent=2)) if options.json else print_zoo(rows)
        return 0
    name, sizes, activations = describe(options.network, **network_options(options))
    layers = [asdict(layer) for layer in sizes.layers]
    if options.json:
        print(json.dumps({"network": name, "layers": layers, "activations": activations}, indent=2))
    else:
        print_layers(name, layers, activations)
    return 0
