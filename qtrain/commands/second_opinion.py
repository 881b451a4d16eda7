"""finn-base on the command line: ``verify --finn-base`` and ``export --dialect finn-base``."""

from pathlib import Path
from typing import Literal

from jsonargparse import Namespace

from qtrain.errors import UserError
from qtrain.training.progress import tell

FINN_BASE = "finn-base"


def verify_finn_base(options: Namespace, images: int | Literal["all"] | None) -> int:
    """Ask finn-base about a FINN folder, and repeat the proof.

    finn-base comes first: what is wrong with the environment or the options is then heard of before the proof.

    Args:
        options: of ``verify``.
        images: for finn-base; None takes as many as fit a minute.
    """
    from qtrain.export import verify
    from qtrain.export.proof.finn_base import check, numbers, second_opinion
    from qtrain.report.proof import print_proof

    if options.finn or options.json:
        raise UserError("--finn-base goes with neither --finn nor --json; give one command for each")
    folder = Path(options.folder)
    found = second_opinion(folder, images=images, say=print)
    print(
        f"finn-base {found.versions['finn-base']}: the same class on {found.equal} of {found.images} images, the same "
        f"logits on {found.equal_logits}, largest difference {found.largest_logit_difference:.1e}, "
        f"{found.seconds:.0f} s"
    )
    if found.ties:
        print(f"another class between logits that tie in float32: images {numbers(found.ties)}")
    if found.flipped:
        says = f"another class behind a quantizer that float32 flipped ({found.allowed} may): images"
        print(f"{says} {numbers(found.flipped)}")
    print_proof(verify(folder, trust=options.trust, device=options.device, say=print))
    check(found)
    return 0


def export_dialect(folder: Path, dialect: str) -> None:
    """Add the graph in another dialect to a FINN folder that was just made."""
    from qtrain.export.proof.finn_base import add_dialect

    if dialect == FINN_BASE:
        tell(f"{add_dialect(folder)}: the graph for finn-base; qtrain verify {folder} --finn-base executes it there")
