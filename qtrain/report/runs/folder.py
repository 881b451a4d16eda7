"""One run folder: what its files say, and what of them is damaged."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from qtrain.errors import UserError, is_out_of_files
from qtrain.records.comparison import FailureFile
from qtrain.records.estimate import Estimate
from qtrain.records.format import Source, from_json
from qtrain.records.manifest import MANIFEST, read_export
from qtrain.records.plain_yaml import YamlError, load_yaml
from qtrain.records.runs import RECORDS, read_progress
from qtrain.records.sweep import CELL, read_cell
from qtrain.report.runs.row import PROVEN, RunRow, ShownRecipe
from qtrain.report.runs.scan import RECIPE, Listing, Tree

FINN = "finn"
ESTIMATE = "estimate"
_MEND = "train again or take an older copy"


@dataclass
class RunFolder:
    """What the files of a run folder say, as far as they have been read.

    Attributes:
        folder: of the run.
        tree: that it was found in.
        row: what is known of the run.
        epoch_seconds: of its last epoch.
    """

    folder: Path
    tree: Tree
    row: RunRow
    epoch_seconds: float = 0.0

    @property
    def listing(self) -> Listing:
        """What the folder holds."""
        return self.tree.at(self.folder)

    def read_all(self) -> None:
        """Read every file.

        Raises:
            UserError: one is damaged, or no plain file; what was read before it is in the row.
            OSError: one cannot be read.
        """
        check_plain(self.folder, self.listing)
        self._read_training()
        if CELL in self.listing.files:
            cell = read_cell(self.folder)
            self.row = self.row if cell is None else with_cell(self.row, cell)
        if FailureFile.FILE in self.listing.files:
            self.row = replace(self.row, state="failed", why=FailureFile.read(self.folder).reason)
        self._read_export()
        self._read_estimate()

    def _read_training(self) -> None:
        """Read the records and the recipe; the recipe's own file only where no record has it yet."""
        recipe: Mapping[str, Any] = {}
        place = ""
        source = Source(self.folder / RECORDS, _MEND)
        if RECORDS in self.listing.files:
            progress = read_progress(self.folder)
            recipe = progress.recipe
            place = "recipe"
            self.epoch_seconds = progress.epoch_seconds
            self.row = replace(self.row, done=progress.epochs, best=progress.best, seconds=progress.seconds)
            if progress.result is not None:
                self.row = replace(self.row, state="finished", test=progress.result.test_accuracy)
        if not recipe and RECIPE in self.listing.files:
            place = ""
            source = Source(self.folder / RECIPE, _MEND)
            recipe = _read_yaml(source)
        if recipe:
            self.row = replace(self.row, **from_json(ShownRecipe, recipe, source, place).shown)

    def _read_export(self) -> None:
        folder = self.folder / FINN
        listing = self.tree.at(folder)
        if MANIFEST not in listing.names:
            return
        check_plain(folder, listing)
        proof = read_export(folder).proof
        said = PROVEN if proof.equal == proof.images else f"{proof.equal}/{proof.images}"
        self.row = replace(self.row, proof=said)
        if self.row.state == "finished":
            self.row = replace(self.row, state="exported")

    def _read_estimate(self) -> None:
        for folder in estimate_folders(self.folder):
            listing = self.tree.at(folder)
            if Estimate.FILE in listing.names:
                check_plain(folder, listing)
                estimate = Estimate.read(folder)
                self.row = replace(self.row, lut=estimate.used.get("LUT"), fps=estimate.fps)
                return


def read_run(folder: Path, tree: Tree) -> RunFolder:
    """Read a run folder; what is damaged in it is said in its row, beside what is not."""
    found = RunFolder(folder, tree, RunRow(folder=str(folder), state="stopped", changed=_changed(tree.at(folder))))
    try:
        found.read_all()
    except (UserError, OSError) as error:
        found.row = replace(found.row, state="damaged", why=sentence(error, folder))
    return found


def with_cell(row: RunRow, cell: Mapping[str, Any]) -> RunRow:
    """Return the row of a sweep's cell with what is in the sweep's."""
    network = f"{cell['network']} {cell['bits']}".rstrip()
    row = replace(row, network=row.network or network, seed=cell["seed"], epochs=row.epochs or cell["epochs"])
    done = max(row.done, cell["best_epoch"] or 0)
    best = row.best if row.best is not None else cell["validation_accuracy"]
    row = replace(row, done=done, best=best, test=cell["test_accuracy"])
    if cell["proven"] is not None:
        row = replace(row, proof=PROVEN if cell["proven"] else "failed")
    estimate = cell["estimate"]
    if isinstance(estimate, Mapping) and isinstance(estimate.get("used"), Mapping):
        row = replace(row, lut=_number(estimate["used"].get("LUT")), fps=_number(estimate.get("fps")))
    if cell["state"] == "failed":
        return replace(row, state="failed", why=f"{cell['stage']}: {cell['error']}")
    return row


def estimate_folders(folder: Path) -> tuple[Path, Path]:
    """Return where the compiler's output of a run lies: by ``qtrain sweep``, and by ``qtrain estimate``."""
    return folder / ESTIMATE, folder / FINN / ESTIMATE


def check_plain(folder: Path, listing: Listing) -> None:
    """See that nothing here leads elsewhere.

    Raises:
        UserError: a link, or something that is no file.
    """
    if listing.odd:
        raise UserError(f"{folder / min(listing.odd)} is a link or no plain file, and is not read")


def _read_yaml(source: Source) -> Mapping[str, Any]:
    try:
        values = load_yaml(source.path)
    except YamlError as error:
        raise source.damaged(f"it is not YAML: {error}") from None
    if not isinstance(values, dict):
        raise source.damaged("it holds no recipe")
    return values


def _changed(listing: Listing) -> float | None:
    """Return when the records were last written, in seconds since 1970; those of the recipe before."""
    for name in (RECORDS, CELL, FailureFile.FILE, RECIPE):
        if name in listing.files:
            return listing.files[name][0] / 1e9
    return None


def sentence(error: UserError | OSError, folder: Path) -> str:
    """Return what is wrong with a folder, with the file's name.

    Raises:
        UserError: as given, where this process may open no more files: the folder is not to blame.
        OSError: likewise.
    """
    if is_out_of_files(error):
        raise error
    if isinstance(error, UserError):
        return str(error)
    return f"{error.filename or folder} cannot be read ({error.strerror or error})"


def _number(value: Any) -> float | None:
    return value if type(value) in (int, float) else None
