"""``qtrain estimate``: what a FINN folder or a QONNX file costs on a board, or without the compiler, at all."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import Namespace

from qtrain.commands.again import going_on, same_command
from qtrain.commands.options import add_part, asked_target
from qtrain.commands.parser import Parser
from qtrain.commands.status import ESTIMATE_MISSED, fail
from qtrain.commands.voice import Voice
from qtrain.errors import UserError
from qtrain.training.progress import tell, tell_error, whoever_listens

if TYPE_CHECKING:
    from qtrain.export.compiler.boards import Board
    from qtrain.export.compiler.result import BuildResult
    from qtrain.records.estimate import Estimate

WIDTH_HELP = "bits of a weight stream, up to which FINN widens matrix units; default 36, with --max-fps wider ones too"
TRUST_HELP = "execute build steps of the folder that qtrain does not ship"
BARE: dict[str, Any] = {"board": "ZCU104", "target_fps": 1000, "clock_ns": 10.0}  # what a bare file does not say


def estimate_parser() -> Parser:
    """Make the parser of ``estimate``."""
    parser = Parser(
        description="Let the real FINN compiler build a FINN folder or a QONNX file up to its estimates (make finn): "
        "LUT, BRAM, URAM, DSP and cycles by layer, frames/s, against the board. Exit status 1 where it is estimated "
        "not to fit the board or to miss the target. Without the compiler: MACs, BOPs, bits.",
        examples=(
            "qtrain estimate runs/a/finn",
            "qtrain estimate runs/a/finn --max-fps --save-folding --out b",
            "qtrain estimate model.onnx --board Pynq-Z1 --cost-only",
        ),
    )
    parser.add("target", type=str, help="FINN folder, or a QONNX file that is ready for FINN", completes="file")
    about = "folder for the output; default FOLDER/estimate"
    parser.add("--out", type=str | None, help=about, takes="FOLDER", completes="folder")
    about = "FINN's board name; default the folder's; a file: ZCU104"
    parser.add("--board", type=str | None, help=about, takes="NAME", completes="board")
    add_part(parser)
    parser.add("--target_fps", type=int | None, help="frames a second to fold for; default the folder's")
    parser.add("--clock_ns", type=float | None, help="clock period in ns; default the folder's")
    parser.add("--max_fps", action="store_true", help="search the most frames a second that fit the board")
    parser.add("--max_utilization", type=float, default=1.0, help="share of the board that may be used")
    parser.add("--mvau_wwidth_max", type=int | None, help=WIDTH_HELP)
    parser.add("--save_folding", action="store_true", help="write the folding into the FINN folder's build")
    parser.add("--trust", action="store_true", help=TRUST_HELP)
    parser.add("--cost_only", action="store_true", help="count MACs, BOPs and bits; needs no compiler")
    parser.add("--json", action="store_true", help="print the estimate as JSON")
    parser.add("--timeout_s", type=float, default=900.0, help="seconds until the compiler is stopped")
    return parser


@dataclass(frozen=True)
class _Asked:
    """What to estimate: the user's words, and the folder's where there are none.

    Attributes:
        given: folder or file, as it was named.
        folder: that the compiler builds from, a temporary one for a bare file.
        model: the graph, for the names of its layers.
        folding: the folder's saved one, None where FINN shall fold for the target.
    """

    given: Path
    folder: Path
    model: Path
    board: "Board"
    target_fps: int
    clock_ns: float
    folding: Path | None


def estimate_command(parser: Parser, words: list[str], options: Namespace) -> int:
    """Ask the FINN compiler what a network costs; without it, count."""
    _check(options)
    Voice().loading()
    from qtrain.export import get_board
    from qtrain.export.compiler.start import INSTALL, find_compiler
    from qtrain.export.folder.change import end_change

    _check_out(options.target, options.out)
    end_change(Path(options.target))
    options.board = asked_target(options)
    if options.board:
        get_board(options.board)
    if options.cost_only or find_compiler() is None:
        for flag in ("max_fps", "save_folding"):
            if options[flag]:
                why = "--cost-only asks for none" if options.cost_only else f"there is no FINN compiler here; {INSTALL}"
                raise UserError(f"--{flag.replace('_', '-')} needs the compiler's estimate, but {why}")
        return _cost(options)
    onward = going_on(f"{options.target} is as it was", same_command("estimate", words))
    with onward, _asked(options) as asked, Voice().at_work("asking the FINN compiler"):
        return _estimate(asked, options)


def _check(options: Namespace) -> None:
    """Refuse what contradicts itself, before minutes are spent."""
    share = options.max_utilization
    if not 0 < share <= 1:
        raise UserError(f"max_utilization is {share:g}: it must be above 0 and at most 1, for instance 0.8")
    if not Path(options.target).exists():
        raise UserError(f"{options.target} does not exist; name a FINN folder, or a QONNX file")
    if options.save_folding and Path(options.target).is_file():
        raise UserError(f"--save-folding writes into a FINN folder, but {options.target} is a file; name a folder")


def _check_out(target: str, out: str | None) -> None:
    """See that a build does not litter the FINN folder, which then would no longer be what was exported."""
    from qtrain.export.folder.contents import PRODUCTS

    folder = Path(target).resolve()
    if out is None or not folder.is_dir():
        return
    place = Path(out).resolve()
    if place.is_relative_to(folder) and place.relative_to(folder).parts[:1] not in [(name,) for name in PRODUCTS]:
        raise UserError(
            f"--out {out} lies in the FINN folder, which holds nothing but its export and {' and '.join(PRODUCTS)}; "
            "name another folder, or leave --out away"
        )


def _cost(options: Namespace) -> int:
    from qtrain.export.compiler.cost import network_cost
    from qtrain.export.compiler.start import INSTALL
    from qtrain.export.folder.contents import read_manifest
    from qtrain.report.estimate import print_cost

    path = Path(options.target)
    if not path.is_file():
        read_manifest(path)  # a folder of ours, of this format
        path = path / "model.onnx"
    cost = network_cost(path).to_dict()
    if options.json:
        print(json.dumps(cost, indent=2))
        return 0
    print_cost(cost)
    asks = "without --cost-only the FINN compiler says more" if options.cost_only else f"for FINN's own, {INSTALL}"
    print(f"These are {cost['label']}; {asks}.")
    return 0


@contextmanager
def _asked(options: Namespace) -> Iterator[_Asked]:
    from qtrain.export import get_board
    from qtrain.export.folder.checks import check_folder, said_of_steps
    from qtrain.export.folder.contents import read_manifest
    from qtrain.export.folder.folding import read_folding, saved_folding
    from qtrain.export.foreign.graph_file import folder_of, read_graph

    given = Path(options.target)
    chosen = {name: options[name] for name in BARE if options[name] is not None}
    anew = chosen or options.mvau_wwidth_max or options.max_fps or options.save_folding
    if given.is_file():
        facts = BARE | chosen
        with folder_of(given) as folder:
            yield _Asked(given, folder, folder / "model.onnx", get_board(facts["board"]), *_rates(facts), None)
        return
    manifest = read_manifest(given)
    check_folder(given, manifest, trust=options.trust)
    read_graph(given / "model.onnx")
    facts = {name: manifest[name] for name in BARE} | chosen
    folding = None if anew else saved_folding(given)
    if folding is not None:
        read_folding(folding)
    (tell_error if options.json else tell)(f"{given}: {said_of_steps(given)}")
    yield _Asked(given, given, given / "model.onnx", get_board(facts["board"]), *_rates(facts), folding)


def _rates(facts: dict[str, Any]) -> tuple[int, float]:
    from qtrain.export.target import check_rates

    check_rates(facts["target_fps"], facts["clock_ns"])
    return facts["target_fps"], facts["clock_ns"]


def _estimate(asked: _Asked, options: Namespace) -> int:
    from qtrain.export.compiler.start import estimate_build

    default = (
        asked.given / "estimate" if asked.given.is_dir() else asked.given.with_name(f"{asked.given.stem}-estimate")
    )

    def told(build: "BuildResult") -> None:
        _tell(build, asked, options)

    estimate_build(
        asked.folder,
        board=asked.board.name,
        target_fps=asked.target_fps,
        clock_ns=asked.clock_ns,
        out=Path(options.out or default),
        timeout_s=options.timeout_s,
        folding=asked.folding,
        max_fps_within=options.max_utilization if options.max_fps else None,
        mvau_wwidth_max=options.mvau_wwidth_max,
        then=told,
    )
    return 0


def _tell(build: "BuildResult", asked: _Asked, options: Namespace) -> None:
    """Write and print what FINN estimates, and save its folding where that was asked for.

    Raises:
        ProofError: FINN does not take the network.
        SystemExit: by the estimate it does not fit, or misses the target.
    """
    from qtrain.export import ProofError
    from qtrain.export.compiler.estimate import read_estimate
    from qtrain.export.compiler.start import MVAU_WWIDTH_MAX
    from qtrain.export.foreign.boundary import one_line

    width = options.mvau_wwidth_max or MVAU_WWIDTH_MAX
    if not build.accepted:
        more = f"; `qtrain lint {asked.given}` may say what to change" if asked.given.is_file() else ""
        raise ProofError(f"{build.reason}; the compiler's output is in {build.log}{more}")
    with one_line(asked.given, "estimated"):
        estimate = read_estimate(
            build,
            asked.model,
            asked.board,
            target_fps=asked.target_fps,
            clock_ns=asked.clock_ns,
            max_utilization=options.max_utilization,
            mvau_wwidth_max=width if asked.folding is None else None,
        )
    _report(estimate, asked, build.verified, build.log.parent, options.json)
    problems = _problems(estimate, options.max_fps)
    if problems:
        fail(f"by FINN's estimate {'; '.join(problems)}", ESTIMATE_MISSED)
    if options.save_folding:
        _save(estimate, asked, build.log.parent, options.json)


def _report(estimate: "Estimate", asked: _Asked, verified: tuple[str, ...], out: Path, as_json: bool) -> None:
    """Write ``estimate.json`` and ``estimate.png``, and print one or the other."""
    from qtrain.report.estimate import print_estimate
    from qtrain.report.estimate_figure import write_figure

    values = estimate.to_json()
    figure = out / "estimate.png"
    estimate.write(out)
    write_figure(values, network_name(asked.given), figure)
    if as_json:
        print(json.dumps(values, indent=2))
        return
    with whoever_listens():
        print_estimate(values, verified)
        if asked.folding is not None:
            print(f"Folded as {asked.folding} says; --target-fps or --max-fps folds anew.")
        if asked.board.retired:
            print(f"Official FINN builds for {asked.board.label} only after an opt-in now; finn-plus builds for it.")
        print(f"FINN takes it: the whole network is one dataflow partition; tables, figure and reports are in {out}")


def network_name(given: Path) -> str:
    """Return the name of the network in a FINN folder; of a bare file its own name, as it carries no other."""
    from qtrain.export.folder.contents import read_manifest

    manifest = read_manifest(given) if given.is_dir() else {}
    return str(manifest.get("network") or given.name)


def _problems(estimate: "Estimate", searched: bool) -> list[str]:
    """What FINN's estimate says against the folding; of a search the smallest network it tried."""
    if not searched or any(probe["fits"] for probe in estimate.probes):
        return estimate.problems()
    smallest = min(estimate.probes, key=lambda probe: probe["target_fps"])
    none = f"none of {len(estimate.probes)} foldings fits {estimate.board}"
    if "error" in smallest:
        return [f"{none}, and FINN cannot fold for {smallest['target_fps']} frame/s: {smallest['error']}"]
    over = [
        f"{smallest[kind]:,.0f} of {has:,} {kind}"
        for kind, has in estimate.available.items()
        if smallest[kind] > estimate.max_utilization * has
    ]
    return [
        f"{none}: for {smallest['target_fps']} frame/s it already needs {', '.join(over)}, no other style helps, "
        f"and {estimate.max_utilization:.4g} of that may be used; take a larger board, fewer bits or a narrower network"
    ]


def _save(estimate: "Estimate", asked: _Asked, out: Path, quiet: bool) -> None:
    from qtrain.export.compiler.estimate import folding_report
    from qtrain.export.folder.build_files import MVAU_WWIDTH_MAX
    from qtrain.export.folder.folding import FOLDING, read_folding, save_folding

    folding = read_folding(folding_report(out))
    unsigned = save_folding(
        asked.folder,
        folding,
        asked.board,
        estimate.target_fps,
        asked.clock_ns,
        made_by=f"finn-plus {estimate.versions['finn-plus']}",
        mvau_wwidth_max=estimate.mvau_wwidth_max or MVAU_WWIDTH_MAX,
        estimated_fps=estimate.fps,
        styles={layer.name: layer.styles for layer in estimate.styled},
    )
    if not quiet:
        tell(
            f"{asked.given / FOLDING}: the build starts from it now, for {estimate.target_fps:,} frames/s on "
            f"{estimate.board}"
        )
        if unsigned:
            tell(f"{asked.given}: the signature was over another manifest and is gone; sign it anew (docs/security.md)")
