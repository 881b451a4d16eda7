"""finn-base on the command line: ``verify --finn-base`` and ``export --dialect finn-base``."""

from dataclasses import dataclass, field
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


@dataclass
class Finish:
    """What ``export`` adds to a FINN folder before that gets its name: a graph in another dialect, a signature.

    Attributes:
        out: its name.
        dialect: qonnx, which every folder has, or finn-base.
        key: private key to sign with; None leaves the folder unsigned.
        lines: what was added, for a person.
        refused: why there is no such graph.
    """

    out: Path
    dialect: str
    key: Path | None
    lines: list[str] = field(default_factory=list)
    refused: str | None = None

    def __call__(self, work: Path) -> None:
        """Do it in the folder ``work``, which becomes ``out``."""
        from qtrain.export.folder.signing import sign
        from qtrain.export.proof.finn_base import add_dialect

        if self.dialect == FINN_BASE:
            try:
                path = self.out / add_dialect(work).name
                onward = f"qtrain verify {self.out} --finn-base executes it there"
                self.lines.append(f"{path}: the graph for finn-base; {onward}")
            except UserError as error:
                self.refused = str(error).replace(str(work), str(self.out))
        if self.key is not None:
            self.lines.append(f"{self.out / sign(work, self.key).name}: signed with {self.key}")

    def tell(self) -> None:
        """Say what was added.

        Raises:
            UserError: there is no graph in that dialect; the folder is whole without.
        """
        if self.refused:
            raise UserError(self.refused)
        for line in self.lines:
            tell(line)
