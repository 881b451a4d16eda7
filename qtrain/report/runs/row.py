"""One run as a row: what its folder's records say, or the row of a sweep's cell."""

from dataclasses import dataclass, fields
from typing import Any, Literal

State = Literal["waiting", "running", "running?", "stopped", "failed", "finished", "exported", "damaged"]
PROVEN = "proven"


@dataclass(frozen=True, kw_only=True)
class RunRow:
    """What is shown of a run; None, or no text, where it is not known.

    Attributes:
        folder: as a person reaches it.
        network: with its bit widths, and those of single layers.
        data: its data set.
        scheduler: its name.
        seed: of the recipe.
        done: epochs that are behind it.
        epochs: in all.
        best: validation accuracy so far, in percent.
        test: accuracy of a finished run, in percent.
        state: running? is a run whose lock nobody holds, but which wrote a moment ago.
        proof: proven, or how many test images are equal.
        lut: look-up tables, estimated.
        fps: frames a second, estimated.
        seconds: that it trained.
        seconds_left: of a run that trains, about.
        changed: when its records were last written, in seconds since 1970.
        why: it failed, or is damaged.
    """

    folder: str
    network: str = ""
    data: str = ""
    scheduler: str = ""
    seed: int | None = None
    done: int = 0
    epochs: int | None = None
    best: float | None = None
    test: float | None = None
    state: State
    proof: str = ""
    lut: float | None = None
    fps: float | None = None
    seconds: float | None = None
    seconds_left: float | None = None
    changed: float | None = None
    why: str = ""


COLUMNS = tuple(field.name for field in fields(RunRow))


@dataclass(frozen=True)
class ShownRecipe:
    """What is shown of a recipe."""

    network: str
    data: str
    scheduler: str
    seed: int
    epochs: int
    bits: str = ""

    @property
    def shown(self) -> dict[str, Any]:
        """As the row has it."""
        network = f"{self.network} {self.bits}".rstrip()
        return {
            "network": network,
            "data": self.data,
            "scheduler": self.scheduler,
            "seed": self.seed,
            "epochs": self.epochs,
        }
