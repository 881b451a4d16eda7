"""Code of one's own that a run is made of: copied into the run folder, with its checksum on record."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from qtrain.models import parse_name
from qtrain.own_code import Reference, checksum, parse_reference, source_of
from qtrain.recipe import Recipe
from qtrain.records.plain_files import read_plain
from qtrain.records.runs import RECORDS, read_records

CODE = "code"  # the entry of a run's record
COPIES = {"network": "source_network.py", "data": "source_data.py"}


def code_of(recipe: Recipe) -> tuple[list[dict[str, Any]], dict[str, bytes]]:
    """Return what a run's record says of code of one's own, and the copies that go into its folder, by file name.

    A file that cannot be found, as of a class typed into a notebook, has neither checksum nor copy.
    """
    facts: list[dict[str, Any]] = []
    copies: dict[str, bytes] = {}
    for what, reference in _references(recipe):
        source = source_of(reference)
        known = {"what": what, "reference": str(reference), "file": None, "sha256": None, "copy": None}
        if source is not None:
            known |= {"file": str(source), "sha256": checksum(source), "copy": COPIES[what]}
            copies[COPIES[what]] = read_plain(source)
        facts.append(known)
    return facts, copies


def changed_code(folder: Path, recipe: Recipe) -> list[str]:
    """Say which code of one's own has changed since a run began, a line each; nothing is executed."""
    records = read_records(folder) if (folder / RECORDS).exists() else []
    known = _recorded(records)
    lines = []
    for what, reference in _references(recipe):
        before = known.get(what, {}).get("sha256")
        source = source_of(reference)
        if before is None or source is None or checksum(source) == before:
            continue
        copy = folder / str(known[what].get("copy"))
        lines.append(f"{source} has changed since {folder} began; what was trained is in {copy}")
    return lines


def _recorded(records: Iterable[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Return what records say of code of one's own, by what it is; what is damaged is passed over."""
    entries = [entry for record in records if isinstance(record.get(CODE), list) for entry in record[CODE]]
    return {entry["what"]: entry for entry in entries if isinstance(entry, dict) and isinstance(entry.get("what"), str)}


def _references(recipe: Recipe) -> Iterator[tuple[str, Reference]]:
    """Yield what a recipe names of one's own: its network, its data."""
    name = parse_name(recipe.network)
    if name.is_own:
        yield "network", parse_reference(name.family, "MyNet")
    if ":" in recipe.data and not Path(recipe.data).exists():
        yield "data", parse_reference(recipe.data, "load")
