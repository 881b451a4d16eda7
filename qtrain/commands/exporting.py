"""Commands around a FINN folder: ``export`` and ``verify``."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from jsonargparse import Namespace

from qtrain.commands.again import command_line, going_on, same_command
from qtrain.commands.options import add_board, add_data, add_data_root, asked_target, data_options
from qtrain.commands.parser import Parser
from qtrain.commands.second_opinion import Finish, verify_finn_base
from qtrain.commands.voice import Voice, add_voice, voice_of
from qtrain.errors import UserError
from qtrain.training.context import RunContext
from qtrain.training.folder import folder_recipe
from qtrain.training.progress import tell, tell_error, whoever_listens

BOARD = "ZCU104"  # where neither board nor part was given
Dialect = Literal["qonnx", "finn-base"]
_DEVICE = "that computes the proof: cpu, cuda, cuda:N or auto"


def export_parser() -> Parser:
    """Make the parser of ``export``."""
    parser = Parser(
        description="Export a run to a FINN folder and prove it equal to torch.",
        examples=(
            "qtrain export runs/a",
            "qtrain export runs/a --board Pynq-Z1 --target-fps 5000 --clock-ns 5",
            "qtrain export runs/a --part xc7z010clg400-1 --out build/a",
        ),
    )
    parser.add("run", type=str, help="run folder", completes="folder")
    about = "FINN folder to make; default RUN/finn"
    parser.add("--out", type=str | None, help=about, takes="FOLDER", completes="folder")
    add_board(parser, BOARD)
    add_data_root(parser)
    parser.add("--dialect", type=Dialect, default="qonnx", help="finn-base adds model_finn_base.onnx")
    about = "private key of ssh-keygen or minisign, to sign the folder"
    parser.add("--sign", type=str | None, help=about, takes="FILE", completes="file")
    parser.add("--device", type=str, default="cpu", help=_DEVICE, takes="NAME")
    parser.add("--refused_too", action="store_true", help="export also what lint says FINN refuses")
    add_voice(parser)
    return parser


def verify_parser() -> Parser:
    """Make the parser of ``verify``."""
    parser = Parser(
        description="Repeat the proof of a FINN folder, from the folder alone.",
        examples=(
            "qtrain verify runs/a/finn",
            "qtrain verify runs/a/finn --run runs/a",
            "qtrain verify runs/a/finn --finn",
        ),
    )
    parser.add("folder", type=str, help="FINN folder; with --finn also a QONNX file", completes="folder")
    about = "run folder: compute torch's side anew from its checkpoint"
    parser.add("--run", type=str | None, help=about, takes="FOLDER", completes="folder")
    about = "require a signature: ssh's allowed signers, or a public key"
    parser.add("--signers", type=str | None, help=about, takes="FILE", completes="file")
    parser.add("--trust", action="store_true", help="take, and with --finn execute, steps qtrain does not ship")
    parser.add("--finn", action="store_true", help="prove the graph after each of the compiler's steps too")
    parser.add("--finn_base", action="store_true", help="execute the graph in finn-base too (make finn-base)")
    parser.add("--device", type=str, default="cpu", help=_DEVICE, takes="NAME")
    parser.add("--images", type=str | None, help="a number or all; default as many as time allows")
    parser.add("--json", action="store_true", help="with --finn: print the proof as JSON")
    add_data(parser, "of a QONNX file: test images to take; default random ones")
    add_voice(parser)
    return parser


def export_command(parser: Parser, words: list[str], options: Namespace) -> int:
    """Make a proven FINN folder of a run."""
    folder_recipe(Path(options.run))
    voice = voice_of(options)
    voice.loading()
    from qtrain.experiments.export import export_run
    from qtrain.export import get_board
    from qtrain.export.folder.signing import check_key
    from qtrain.report.proof import print_proof

    out = Path(options.out or Path(options.run) / "finn")
    onward = same_command("export", words)
    target = get_board(asked_target(options) or BOARD)
    if options.sign:
        check_key(Path(options.sign))
    finish = Finish(out, options.dialect, Path(options.sign) if options.sign else None)
    with voice.at_work("exporting and proving"), going_on(f"the run is as it was, and no {out} is left", onward):
        proof = export_run(
            Path(options.run),
            out,
            board=target.name,
            target_fps=options.target_fps,
            clock_ns=options.clock_ns,
            context=RunContext(options.data_root, say=voice.say, detail=voice.detail),
            refused_too=options.refused_too,
            device=options.device,
            then=finish,
        )
    if not voice.quiet:
        with whoever_listens():
            print_proof(proof)
    ready = "exported, though lint may say that FINN refuses it," if options.refused_too else "ready for FINN"
    tell(f"{out}: {ready} on {target.label}")
    finish.tell()
    voice.say(f"next: {command_line('estimate', out)}")
    return 0


def verify_command(parser: Parser, words: list[str], options: Namespace) -> int:
    """Repeat the proof of a FINN folder; with the compiler, after each of its steps."""
    if options.run and (options.finn or options.finn_base):
        raise UserError("--run goes with neither --finn nor --finn-base; give one command for each")
    voice = voice_of(options)
    voice.loading()
    with voice.at_work("proving"):
        return _verify(options, voice)


def _verify(options: Namespace, voice: Voice) -> int:
    from qtrain.experiments.export import verify_run
    from qtrain.export import verify
    from qtrain.export.folder.signing import check_signature
    from qtrain.report.proof import print_proof

    signature = None
    if Path(options.folder).is_dir():
        signature = check_signature(Path(options.folder), Path(options.signers) if options.signers else None)
    elif options.signers:
        raise UserError(f"--signers goes with a FINN folder, and {options.folder} is none")
    if options.finn_base:
        return verify_finn_base(options, image_count(options.images))
    if options.finn:
        return _verify_finn(options, voice)
    if given := [name for name in ("images", "json", "data") if options[name]]:
        raise UserError(
            f"--{given[0]} goes with --finn or --finn-base; the proof itself runs on all images of the folder"
        )
    if Path(options.folder).is_file():
        raise UserError(
            f"{options.folder} is not a FINN folder but a file; with --finn a QONNX file is compared with FINN"
        )
    if options.run:
        folders = (Path(options.folder), Path(options.run))
        proof = verify_run(
            *folders, RunContext(options.data_root, say=voice.say), trust=options.trust, device=options.device
        )
        whose = f"The folder is an export of {options.run}: torch's answers were computed anew from its checkpoint."
    else:
        proof = verify(options.folder, trust=options.trust, device=options.device, say=voice.say)
        whose = "This proves the graph against the answers that the folder records, not whose they are: --run RUN does."
    if not voice.quiet:
        print_proof(proof)
    print(f"{options.folder}: {signature}")
    print(whose)
    return 0


def _verify_finn(options: Namespace, voice: Voice) -> int:
    from qtrain.data import load_data
    from qtrain.export import ProofError
    from qtrain.export.proof.bare_graph import verify_graph
    from qtrain.export.proof.inside_finn import verify_finn
    from qtrain.report.finn_proof import print_finn_proof

    say = tell_error if options.json else voice.say
    count: Any = image_count(options.images)
    if Path(options.folder).is_file():
        how = data_options(options)
        pixels = load_data(options.data, root=options.data_root, options=how).test.images if options.data else None
        proof, failure = verify_graph(options.folder, pixels, images=count, device=options.device, say=say)
    elif options.data:
        raise UserError(f"--data goes with a QONNX file; {options.folder} has its test images inside")
    else:
        proof, failure = verify_finn(options.folder, images=count, trust=options.trust, device=options.device, say=say)
    if options.json:
        print(json.dumps(asdict(proof), indent=2, default=str))
    else:
        print_finn_proof(asdict(proof))
    if failure:
        raise ProofError(failure)
    if not options.json:
        print(f"{options.folder}: equal after every step, and {proof.build.reason}")
    return 0


def image_count(given: str | None) -> int | Literal["all"] | None:
    """Read ``--images``: a number, all, or nothing.

    Raises:
        UserError: something else.
    """
    if given is None or given == "all":
        return given  # type: ignore[return-value]  # it is "all"
    if not given.isdecimal():
        raise UserError(f"images must be a whole number, 1 or more, or all, but got {given!r}")
    return int(given)
