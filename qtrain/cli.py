"""The command line. Exit status: 0 done, 1 comparison or lint failed, 2 wrong input, 3 proof failed, 130 Ctrl-C."""

import json
import logging
import os
import sys
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

from jsonargparse import ArgumentParser, Namespace

from qtrain.arguments import (
    dashed,
    given_recipe,
    given_recipes,
    make_parser,
    names_in,
    network_options,
    normalised,
    without_print,
)
from qtrain.errors import UserError
from qtrain.recipe import AUTO, Recipe

COMPARISON_FAILED, LINT_FAILED, WRONG_INPUT, PROOF_FAILED, INTERRUPTED = 1, 1, 2, 3, 130
PIPE_CLOSED = 141  # as shells say of SIGPIPE
# Two threads that spin while they wait cost 3 times the time on a busy machine; read when torch is imported.
_OPENMP = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}


def _fail(message: str, status: int) -> NoReturn:
    print(f"qtrain: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(status)


def _train(parser: ArgumentParser, argv: list[str], options: Namespace) -> int:
    from qtrain.experiments.run import resume_run, train_recipe
    from qtrain.training import Terminal

    if options.resume is not None:
        given = [word for word in argv[1:] if word.startswith("--") or word == options.network]
        extra = [w for w in given if w.partition("=")[0] not in ("--resume", "--data_root", "--device")]
        if extra:
            raise UserError(f"--resume continues the folder's own recipe; leave out {dashed(', '.join(extra))}")
        out = Path(options.resume)
        result = resume_run(out, data_root=options.data_root, device=options.device, watch=Terminal())
    else:
        options, recipe = given_recipe(parser, argv)
        stem = f"{recipe.network}-{recipe.data}-{recipe.scheduler}-seed{recipe.seed}"
        out = Path(options.out or f"runs/{stem}")
        machine: dict[str, Any] = {"data_root": options.data_root, "device": options.device}
        result = train_recipe(recipe, out, watch=Terminal(), say=print, **machine)
    print(
        f"{out}: test accuracy {result.test_accuracy:.2f} % (epoch {result.best_epoch} of {result.epochs}, "
        f"best validation {result.validation_accuracy:.2f} %), {result.seconds:.0f} s"
    )
    return 0


def _lr_range(parser: ArgumentParser, argv: list[str], options: Namespace) -> int:
    from qtrain.experiments.lr_range import find_lr
    from qtrain.report.lr_range import check_figure, range_lines, write_range_figure
    from qtrain.training import Terminal

    options, recipe = given_recipe(parser, argv)
    out = Path(options.out or f"runs/lr-range-{recipe.network}-{recipe.data}-{recipe.optimizer}.png")
    check_figure(out)  # before minutes of training
    numbers = {name: options[name] for name in ("low", "high", "steps", "every")}
    search = find_lr(recipe, **numbers, data_root=options.data_root, device=options.device, watch=Terminal())
    found = search.found.to_dict()
    print(*range_lines(found, search.seconds), sep="\n")
    write_range_figure(found, f"{recipe.network} on {recipe.data}, {recipe.optimizer}: learning-rate range test", out)
    print(f"{out}: the curve")
    return 0


def _export(parser: ArgumentParser, argv: list[str], options: Namespace) -> int:
    from qtrain.experiments.run import export_run
    from qtrain.report.tables import print_proof

    out = Path(options.out or Path(options.run) / "finn")
    proof = export_run(
        Path(options.run),
        out,
        board=options.board,
        target_fps=options.target_fps,
        clock_ns=options.clock_ns,
        data_root=options.data_root,
        refused_too=options.refused_too,
        say=print,
    )
    print_proof(asdict(proof))
    ready = "exported, though lint may say that FINN refuses it," if options.refused_too else "ready for FINN"
    print(f"{out}: {ready} on {options.board}")
    return 0


def _verify(parser: ArgumentParser, argv: list[str], options: Namespace) -> int:
    from qtrain.export import verify
    from qtrain.report.tables import print_proof

    print_proof(asdict(verify(options.folder, say=print)))
    return 0


def _compare(parser: ArgumentParser, argv: list[str], options: Namespace) -> int:
    from qtrain.experiments.compare import Comparison, compare, export_cells, parse_tuning
    from qtrain.experiments.grid import compare_grid
    from qtrain.export import check_target
    from qtrain.training import Terminal

    options, recipes, grid = given_recipes(argv)
    if options.lr_from is not None:
        return _no_retuning(argv, options, recipes)
    stem = options.network.replace(",", "+").replace(" ", "") if grid else recipes[0].network
    out = Path(options.out or f"runs/compare-{stem}-{recipes[0].data}")
    target = {name: options[name] for name in ("board", "target_fps", "clock_ns")}
    if options.board is not None:
        check_target(**target)  # before hours of training

    def export(comparison: Comparison) -> None:
        if options.board is not None:
            export_cells(comparison, **target, data_root=options.data_root, say=print)

    arguments: dict[str, Any] = {
        "schedulers": names_in(options.schedulers),
        "seeds": options.seeds,
        "tolerance": options.tolerance,
        "challenger": options.challenger,
        "against": None if options.against is None else names_in(options.against),
        "tuning": parse_tuning(options.tuning or ""),
        "again": options.again,
        "data_root": options.data_root,
        "device": options.device,
        "watch": Terminal(),
        "say": print,
    }
    if grid:
        compare_grid(recipes, out, then=export, **arguments)
    else:
        export(compare(recipes[0], out, **arguments))
    if behind := _show_comparison(out):
        _fail(behind, COMPARISON_FAILED)
    return 0


def _no_retuning(argv: list[str], options: Namespace, recipes: list[Recipe]) -> int:
    from qtrain.experiments.no_retuning import no_retuning
    from qtrain.experiments.no_retuning_plan import make_plan
    from qtrain.report.no_retuning import no_retuning_shortfall, write_no_retuning
    from qtrain.training import Terminal

    given = any(word.partition("=")[0] == "--lr" for word in argv)
    schedulers = names_in(options.schedulers) if "--schedulers" in " ".join(argv) else ["aslr"]
    plan = make_plan(
        recipes if given else [recipe.replace(lr=AUTO) for recipe in recipes],
        options.lr_from,
        schedulers=schedulers,
        grid=options.grid,
        tune_seeds=options.tune_seeds,
        seeds=options.seeds,
    )
    out = Path(options.out or f"runs/no-retuning-{plan.family}-{recipes[0].data}")
    machine: dict[str, Any] = {"data_root": options.data_root, "device": options.device, "watch": Terminal()}
    no_retuning(plan, out, tolerance=options.tolerance, say=print, **machine)
    print(write_no_retuning(out), end="")
    print(f"{out}: no_retuning.json, .md and .png")
    if behind := no_retuning_shortfall(out):
        _fail(behind, COMPARISON_FAILED)
    return 0


def _reproduce(parser: ArgumentParser, argv: list[str], options: Namespace) -> int:
    from qtrain.experiments.paper_cells import read_results
    from qtrain.experiments.reproduce import list_cells, planned_rows, reproduce_tables
    from qtrain.report.paper import FIGURES, write_figures, write_page
    from qtrain.training import Terminal

    what, results, page = options.what, Path(options.results), Path(options.page)
    names = names_in(options.networks) if options.networks else []
    size = {name: options[name] for name in ("epochs_scale", "width", "train_size")}
    plan = {"networks": names, "seeds": options.seeds, "protocol": options.protocol, "out": Path(options.out), **size}
    if what not in FIGURES:
        if options.list:
            print("\n".join(list_cells(what, results, data_root=options.data_root, **plan)))
            return 0
        left = reproduce_tables(
            what,
            results,
            minutes=options.max_minutes,
            rounds=options.rounds,
            data_root=options.data_root,
            device=options.device,
            watch=Terminal(),
            say=print,
            **plan,
        )
        planned = planned_rows(what, names, options.protocol)
        write_page(read_results(results), planned, page)
        print(f"{page}: " + (f"{left} runs left; the same command goes on" if left else "nothing is left to run"))
    figures = FIGURES if what == "all" else [what] if what in FIGURES else ()
    for path in write_figures(read_results(results), page.parent, figures):
        print(f"{path}: drawn")
    return 0


def _show_comparison(out: Path) -> str:
    """Print the tables of a comparison or grid and write its report; return what fell short, nothing where all held."""
    from qtrain.report.grid import grid_shortfall_words, is_grid, print_grid, read_grid, write_grid_report
    from qtrain.report.html import write_report
    from qtrain.report.read import read_comparison
    from qtrain.report.statistics import shortfall_words
    from qtrain.report.tables import print_comparison

    if is_grid(out):
        print_grid(out)
        print(f"{write_grid_report(out)}: the report")
        return grid_shortfall_words(read_grid(out))
    print_comparison(out)
    print(f"{write_report(out)}: the report")
    data = read_comparison(out)
    return shortfall_words(data.challenger, data.shortfalls, data.tolerance) if data.shortfalls else ""


def _estimate(parser: ArgumentParser, argv: list[str], options: Namespace) -> int:
    from qtrain.export import ProofError, get_board
    from qtrain.export.compiler import estimate_build
    from qtrain.export.finn_folder import read_manifest
    from qtrain.report.tables import print_estimate

    folder = Path(options.folder)
    manifest = read_manifest(folder)
    board = get_board(options.board or manifest["board"])
    build = estimate_build(
        folder,
        board=board.name,
        target_fps=options.target_fps or manifest["target_fps"],
        clock_ns=options.clock_ns or manifest["clock_ns"],
        out=Path(options.out or folder / "estimate"),
        timeout_s=options.timeout_s,
    )
    print_estimate(asdict(build), asdict(board))
    if not build.accepted:
        raise ProofError(f"{build.reason}; the compiler's output is in {build.log}")
    print(f"FINN takes it: {build.reason}; its reports are in {build.log.parent}")
    return 0


def _lint(parser: ArgumentParser, argv: list[str], options: Namespace) -> int:
    from qtrain.experiments.targets import lint_target, parse_shape
    from qtrain.report.findings import print_findings

    shape = None if options.input_shape is None else parse_shape(options.input_shape)
    findings = [asdict(finding) for finding in lint_target(options.target, shape, **network_options(options))]
    if options.json:
        print(json.dumps(findings, indent=2))
    else:
        print_findings(findings)
    return LINT_FAILED if any(finding["severity"] == "error" for finding in findings) else 0


def _models(parser: ArgumentParser, argv: list[str], options: Namespace) -> int:
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


def _report(parser: ArgumentParser, argv: list[str], options: Namespace) -> int:
    from qtrain.report.no_retuning import is_no_retuning, write_no_retuning

    folder = Path(options.folder)
    if is_no_retuning(folder):
        print(write_no_retuning(folder), end="")
    else:
        _show_comparison(folder)
    return 0


_COMMANDS = {
    "train": _train,
    "lr-range": _lr_range,
    "export": _export,
    "verify": _verify,
    "estimate": _estimate,
    "lint": _lint,
    "models": _models,
    "compare": _compare,
    "reproduce": _reproduce,
    "report": _report,
}


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command and exit with its status."""
    try:
        try:
            status = _run(argv)
        finally:
            sys.stdout.flush()  # a reader that left is heard of here at the latest, behind --help too
    except BrokenPipeError:  # head, or a pager that was left, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still to be flushed
        status = PIPE_CLOSED
    sys.exit(status)


def _run(argv: Sequence[str] | None) -> int:
    """Run one command; a mistake ends it with one line and its status."""
    for name, value in _OPENMP.items():
        os.environ.setdefault(name, value)
    warnings.filterwarnings("ignore", module=r"(brevitas|torch|onnx|qonnx|matplotlib)\b")
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # nvcc without a GPU is no concern of ours
    words = normalised(sys.argv[1:] if argv is None else argv)
    try:
        parser = make_parser()
        if not words:
            print(parser.format_help())
            _fail(f"name a command: {', '.join(_COMMANDS)}", WRONG_INPUT)
        options: Any = parser.parse_args(without_print(words))
        return _COMMANDS[options.command](parser, words, options[options.command])
    except UserError as error:
        _fail(str(error), WRONG_INPUT)
    except UnicodeDecodeError as error:  # the only file that is not ours to read is jsonargparse's
        _fail(f"--config must name a text file in UTF-8: {error}", WRONG_INPUT)
    except BrokenPipeError:
        raise
    except OSError as error:
        _fail(f"{error.filename}: {error.strerror or error}" if error.filename else str(error), WRONG_INPUT)
    except KeyboardInterrupt as error:
        again = "the same command" if words[0] in ("compare", "reproduce") else "qtrain train --resume and that folder"
        _fail(f"{error}; continue with {again}" if str(error) else "interrupted", INTERRUPTED)
    except Exception as error:
        from qtrain.export.errors import ProofError

        if not isinstance(error, ProofError):
            raise
        _fail(f"proof failed: {error}", PROOF_FAILED)
