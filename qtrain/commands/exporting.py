"""Commands around a FINN folder: ``export``, ``verify`` and ``estimate``."""

from dataclasses import asdict
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace


def export_command(parser: ArgumentParser, argv: list[str], options: Namespace) -> int:
    """Make a proven FINN folder of a run."""
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


def verify_command(parser: ArgumentParser, argv: list[str], options: Namespace) -> int:
    """Repeat the proof of a FINN folder."""
    from qtrain.export import verify
    from qtrain.report.tables import print_proof

    print_proof(asdict(verify(options.folder, say=print)))
    return 0


def estimate_command(parser: ArgumentParser, argv: list[str], options: Namespace) -> int:
    """Ask the FINN compiler what a folder costs."""
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
