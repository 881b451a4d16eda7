"""From a run folder to a proven FINN folder, and the proof that a FINN folder is a run's."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from qtrain.data import DataSet, FolderSplit, Split
from qtrain.experiments.own_source import changed_code
from qtrain.experiments.run import load_run
from qtrain.export import LintedNetwork, Proof, ProofError, check_target, export_finn, verify
from qtrain.export.folder.contents import check_destination, read_manifest
from qtrain.export.proof.figures import data_facts
from qtrain.models import parse_name
from qtrain.recipe import Recipe
from qtrain.records.format import to_json
from qtrain.records.runs import read_records
from qtrain.training.context import HERE, RunContext
from qtrain.training.folder import check_data, folder_recipe
from qtrain.training.splits import load_splits

_ROUNDED = ("mean", "deviation")  # their last digit may differ on another machine
FOLDER_PROOF = 2000  # images of ImageNet's size that fit the memory of a proof: 1.2 GB in float32


def export_run(
    folder: Path,
    out: Path,
    *,
    board: str,
    target_fps: int,
    clock_ns: float,
    context: RunContext = HERE,
    refused_too: bool = False,
    loaded: tuple[Recipe, nn.Module] | None = None,
    linted: LintedNetwork | None = None,
    device: str = "cpu",
    then: Callable[[Path], None] = lambda _: None,
) -> Proof:
    """Export the run's best network to a FINN folder, proven on the whole test set; errors as ``export_finn``'s.

    Of ``context`` it needs where the data lie, and whom to tell. Of images that lie in files, ``FOLDER_PROOF`` are
    taken, evenly spread. ``loaded`` is what ``load_run`` made of the folder, where it was read before, and ``linted``
    what ``lint_network`` made of that network. ``device`` computes the proof. ``then`` is ``export_finn``'s.
    """
    check_target(board, target_fps, clock_ns)
    check_destination(out)  # before the data are read, or downloaded
    for line in changed_code(folder, folder_recipe(folder)):
        context.say(line)
    recipe, model = load_run(folder, context.data_root) if loaded is None else loaded
    data = _data_of(recipe, folder, context.data_root)
    test = _proven_on(data)
    return export_finn(
        model,
        out,
        pixels=test.images,
        labels=test.labels,
        board=board,
        target_fps=target_fps,
        clock_ns=clock_ns,
        network=str(parse_name(recipe.network)),
        refused_too=refused_too,
        source=_source_facts(recipe, folder),
        linted=linted,
        data=data.facts(),
        device=device,
        say=context.say,
        then=then,
    )


def verify_run(
    finn: Path,
    folder: Path,
    context: RunContext = HERE,
    *,
    trust: bool = False,
    device: str = "cpu",
) -> Proof:
    """Prove a FINN folder again, and that it is an export of the run in ``folder``.

    Args:
        finn: FINN folder.
        folder: of the run.
        context: where the data lie, and whom to tell.
        trust: take build steps that qtrain does not ship.
        device: that computes the proof.

    Raises:
        UserError: as ``verify`` and ``load_run`` do.
        ProofError: as ``verify`` does, or the folder is of another run; says where that shows.
    """
    manifest = read_manifest(finn)
    recipe, model = load_run(folder, context.data_root)
    said = {"network": manifest.get("network"), **_said_of_source(manifest)}
    if isinstance(said.get("recipe"), dict):
        said["recipe"] = {**recipe.defaults(), **said["recipe"]}  # a field that it lacks is newer than the folder
    ours = {"network": str(parse_name(recipe.network)), **_source_facts(recipe, folder)}
    for name, value in json.loads(json.dumps(ours)).items():
        if json.dumps(said.get(name), sort_keys=True) != json.dumps(value, sort_keys=True):
            raise ProofError(f"{finn} says another {name} than {folder} has: {_difference(said.get(name), value)}")
    proof = verify(finn, model=model, trust=trust, device=device, say=context.say)
    data = _data_of(recipe, folder, context.data_root)
    test = _proven_on(data)
    _check_input(manifest, data, finn)
    if manifest["data"] != data_facts(test.images, test.labels):
        raise ProofError(f"{finn} is proven on other images or labels than the test split of {recipe.data}")
    context.say(f"the test images and labels are those of {recipe.data}, {len(test)} of them")
    return proof


def _said_of_source(manifest: Mapping[str, Any]) -> dict[str, Any]:
    source = manifest.get("source")
    return source if isinstance(source, dict) else {}


def _difference(said: Any, ours: Any) -> str:
    """Return the first entry in which two facts differ, in words for one line."""
    if isinstance(said, dict) and isinstance(ours, dict):
        for name in [*ours, *said]:
            if said.get(name) != ours.get(name):
                return f"{name} {str(said.get(name))[:60]}, not {str(ours.get(name))[:60]}"
    return f"{str(said)[:60]}, not {str(ours)[:60]}"


def _source_facts(recipe: Recipe, folder: Path) -> dict[str, Any]:
    """Return what the manifest of an export says of its run."""
    results = [record for record in read_records(folder) if record["type"] == "result"]
    return {"recipe": recipe.to_dict(), "training": results[-1] if results else None}


def _data_of(recipe: Recipe, folder: Path, data_root: str | Path | None) -> DataSet:
    """Load the data of a run, split as it was trained on them.

    Raises:
        UserError: data of one's own have changed since.
    """
    data = load_splits(recipe, data_root)
    check_data(folder, data)
    return data


def _check_input(manifest: Mapping[str, Any], data: DataSet, finn: Path) -> None:
    """See that a folder says of its input what the data say; an earlier export says nothing of it."""
    ours = {name: value for name, value in to_json(data.facts()).items() if name not in _ROUNDED}
    said = {name: manifest["input"].get(name) for name in ours} if "input" in manifest else ours
    if said != ours:
        raise ProofError(f"{finn} says another input than {data.name} has: {_difference(said, ours)}")


def _proven_on(data: DataSet) -> Split:
    """Return the images that a run's network is proven on; of those that lie in files, some of each class."""
    test = data.test
    if isinstance(test, FolderSplit):
        count = min(len(test), FOLDER_PROOF)  # the files are in the order of their classes
        test = test.select(torch.linspace(0, len(test) - 1, count).long())
    return test
