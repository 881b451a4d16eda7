"""What the FINN compiler estimates of a network at other bits and foldings, node by node: the cost model's data."""

import hashlib
import importlib.metadata
import json
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from qtrain.data import image_shape
from qtrain.errors import UserError
from qtrain.experiments.fit.folded import write_config
from qtrain.experiments.fit.hardware import folding_config, network_of
from qtrain.experiments.model import initial_model
from qtrain.experiments.sensitivity.structure import Structure, Widths
from qtrain.export import get_board, lint_network
from qtrain.export.compiler.estimate import read_estimate
from qtrain.export.compiler.start import MVAU_WWIDTH_MAX, estimate_build, find_compiler
from qtrain.export.foreign.graph_file import folder_of
from qtrain.interrupt import Interrupted
from qtrain.recipe import Recipe
from qtrain.records.files import temporary_folder
from qtrain.records.fit import CompiledFile, CompiledNetwork
from qtrain.training.context import RunContext

FITTED = 12  # networks that the cost model is fitted to at first
HELD_OUT = 4  # networks that it is judged on
PROBE = "probe"  # networks that nobody would choose are called so, and numbered
STREAMS = (MVAU_WWIDTH_MAX, 96, 288, 1024)  # bits of weight streams; wider ones give other foldings
_SEED = 25


@dataclass(frozen=True)
class Question:
    """A network for the compiler.

    Attributes:
        name: of it here.
        bits: of every quantizer that may have others.
        width: bits of a weight stream that FINN's folding may have.
        held_out: whether the cost model is judged on it.
        folding: PE and SIMD by layer; None lets FINN fold.
    """

    name: str
    bits: Widths
    width: int = MVAU_WWIDTH_MAX
    held_out: bool = False
    folding: Mapping[str, Sequence[int]] | None = None


def questions(structure: Structure, widths: Sequence[int]) -> Iterator[Question]:
    """Yield the networks that the cost model is fitted to, then those that it is judged on.

    The widest and the narrowest come first, then ones whose quantizers have bits at random; the same each time.

    Args:
        structure: of the network.
        widths: bits that a quantizer may have.
    """
    draw = random.Random(_SEED)
    for number in range(FITTED + HELD_OUT):
        bits = {path: draw.choice(structure.widths_of(path, widths)) for path in structure.variables}
        if number < 2:
            end = (max, min)[number]
            bits = {path: end(structure.widths_of(path, widths)) for path in structure.variables}
        yield Question(f"{PROBE}{number + 1}", bits, STREAMS[number % len(STREAMS)], number >= FITTED)


@dataclass(frozen=True)
class Bench:
    """Lets the compiler estimate networks that begin from one run's weights.

    Attributes:
        recipe: of the run.
        run: its folder.
        structure: of its network.
        board: FINN's name.
        fps: frames a second to fold for.
        clock_ns: clock period in nanoseconds.
        data_root: where to look for the data.
    """

    recipe: Recipe
    run: Path
    structure: Structure
    board: str
    fps: int
    clock_ns: float
    data_root: str | Path | None

    def ask(self, question: Question) -> tuple[CompiledNetwork, Mapping[str, str]]:
        """Let the compiler estimate a network that is not trained at these bits.

        Returns:
            What it says, and the versions of what said it.

        Raises:
            UserError: it does not take the network, or the folding.
        """
        started = time.perf_counter()
        recipe = self.recipe.replace(bits=self.structure.expression(question.bits), init_from=str(self.run))
        model, _ = initial_model(recipe, self.data_root)
        linted = lint_network(model.eval(), image_shape(recipe.data, self.data_root, recipe.data_options))
        with temporary_folder("qtrain-fit-") as work:
            graph = work / "model.onnx"
            linted.graph().save(str(graph))
            with folder_of(graph) as folder:
                network, versions = self._estimated(question, folder, work / "build", None)
                if question.folding is not None:
                    nodes = {path: layer.node for path, layer in self.structure.layers.items()}
                    config = folding_config(work / "build", network.nodes, question.folding, nodes)
                    write_config(work / "folding.json", config)
                    network, versions = self._estimated(question, folder, work / "folded", work / "folding.json")
        return replace(network, seconds=round(time.perf_counter() - started, 3)), versions

    def _estimated(
        self, question: Question, folder: Path, out: Path, folding: Path | None
    ) -> tuple[CompiledNetwork, Mapping[str, str]]:
        where: dict[str, Any] = {"target_fps": self.fps, "clock_ns": self.clock_ns, "mvau_wwidth_max": question.width}
        build = estimate_build(folder, board=self.board, out=out, folding=folding, **where)
        if not build.accepted:
            bits = self.structure.expression(question.bits)
            raise UserError(f"FINN does not take {self.recipe.network} with bits {bits}: {build.reason}")
        estimate = read_estimate(build, folder / "model.onnx", get_board(self.board), **where)
        network = network_of(
            question.name,
            out,
            estimate,
            question.bits,
            folding=question.folding if folding is not None else None,
            width=question.width,
            held_out=question.held_out,
        )
        return network, build.versions


def asked(
    bench: Bench, widths: Sequence[int], out: Path, context: RunContext, earlier: Path | None = None
) -> CompiledFile:
    """Ask the compiler about every network of ``questions``, or go on; ``compiled.json`` grows with each.

    Args:
        bench: that asks.
        widths: bits that a quantizer may have.
        out: folder of the file.
        context: says what stops it.
        earlier: folder of another fit from the same run, whose answers to the same questions are taken.

    Raises:
        Interrupted: ``context.stop`` said so.
        UserError: the file is damaged, or FINN takes none of the networks.
    """
    digest = digest_of(bench)
    found = CompiledFile.read(out) if CompiledFile.is_in(out) else None
    if found is None or found.network != digest:
        found = _answered(digest, earlier, [*questions(bench.structure, widths)])
    known = {network.name for network in found.networks} | set(found.refused)
    missing = [question for question in questions(bench.structure, widths) if question.name not in known]
    if missing:
        context.say(f"asking the FINN compiler about {len(missing)} networks at other bits")
    for question in missing:
        if context.stop():
            raise Interrupted(f"stopped before {question.name}")
        found = with_answer(found, bench, question)[0]
        found.write(out)
    if not found.networks:
        raise UserError(f"the compiler took none of the networks: {next(iter(found.refused.values()))}")
    return found


def _answered(digest: str, earlier: Path | None, wanted: Sequence[Question]) -> CompiledFile:
    """Return a new file, with the answers of an earlier fit to the same questions about the same network."""
    fresh = CompiledFile(network=digest, versions={})
    if earlier is None or not CompiledFile.is_in(earlier):
        return fresh
    found = CompiledFile.read(earlier)
    if found.network != digest:
        return fresh
    bits = {question.name: question.bits for question in wanted}
    same = tuple(network for network in found.networks if bits.get(network.name) == dict(network.bits))
    return replace(fresh, networks=same, versions=found.versions)


def with_answer(found: CompiledFile, bench: Bench, question: Question) -> tuple[CompiledFile, CompiledNetwork | None]:
    """Ask the compiler one more question.

    Returns:
        The file with its answer, and the answer; None where it did not take the network.
    """
    try:
        network, versions = bench.ask(question)
    except UserError as error:
        return replace(found, refused={**found.refused, question.name: str(error)}), None
    return replace(found, networks=(*found.networks, network), versions=dict(versions)), network


def digest_of(bench: Bench) -> str:
    """Return a checksum of what the compiler's answers depend on, beside bits and weights."""
    recipe = bench.recipe.to_dict()
    names = ("network", "data", "width", "scaling", "power_of_two", "per_channel", "net_args", "input_bits")
    facts = {name: recipe.get(name) for name in names}
    facts |= {"board": bench.board, "fps": bench.fps, "clock_ns": bench.clock_ns, "compiler": find_compiler()}
    with suppress(importlib.metadata.PackageNotFoundError):
        facts["version"] = importlib.metadata.version("finn-plus")
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()
