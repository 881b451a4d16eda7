"""Bit operations of a sweep's networks at any bits, layer by layer, as the exported graph's count has them.

A layer takes its multiplications times the bits of a weight times those of what comes in. The last follow from the
quantizer before it, and are read from the counts of a few networks: an average pool between adds bits of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from qtrain.data import image_shape
from qtrain.errors import UserError
from qtrain.experiments.model import model_of
from qtrain.experiments.sensitivity.structure import layers_of
from qtrain.experiments.sweep.deploy import cost_of_linted
from qtrain.experiments.sweep.search_space import SearchSpace, Widths
from qtrain.export import lint_network
from qtrain.export.compiler.cost import NetworkCost


@dataclass(frozen=True)
class LayerBops:
    """One layer with weights.

    Attributes:
        path: of its weights' quantizer.
        source: path of the quantizer of what comes in; empty where that has no choice.
        macs: multiplications an image.
        inputs: bits of what comes in, by the bits of ``source``; by 0 where that has no choice.
    """

    path: str
    source: str
    macs: int
    inputs: dict[int, float] = field(default_factory=dict)

    def bops(self, weight: int, given: int) -> float:
        """Return its bit operations.

        Args:
            weight: bits of a weight.
            given: bits of ``source``; 0 where there is none.
        """
        return self.macs * weight * self.inputs[given]


class Bops:
    """Counts networks of a search without building them.

    Args:
        space: of the search; as many networks of it are built and counted as a quantizer has choices.
        data_root: where to look for the data, whose classes and images the networks have.

    Attributes:
        layers: with weights, in the graph's order.

    Raises:
        UserError: there is no graph, or its layers cannot be told apart.
    """

    def __init__(self, space: SearchSpace, data_root: str | Path | None = None):
        self._fixed = space.fixed()
        self.layers: tuple[LayerBops, ...] = ()
        counted: list[tuple[Widths, float]] = []
        for level in range(max(len(choices) for choices in space.choices.values())):
            bits = {path: choices[min(level, len(choices) - 1)] for path, choices in space.choices.items()}
            cost, sources = _counted(space, bits, data_root)
            if not self.layers:
                self.layers = self._layers(space, cost, sources)
            for layer, found in zip(self.layers, cost.layers, strict=True):
                layer.inputs[bits[layer.source] if layer.source else 0] = (
                    found.bops / found.macs / self.weight_bits(layer, bits)
                )
            counted.append((bits, cost.bops))
        if any(abs(self.count(bits) - bops) > 0.5 for bits, bops in counted):
            raise UserError(
                f"the bit operations of {space.recipe(space.widest()).network} do not follow from its layers' bits; "
                "take --search-from random"
            )

    def _layers(
        self, space: SearchSpace, cost: NetworkCost, sources: Mapping[str, tuple[str, str]]
    ) -> tuple[LayerBops, ...]:
        unknown = [layer.name for layer in cost.layers if layer.name not in sources]
        if unknown:
            raise UserError(
                f"{unknown[0]} of the graph is no layer with quantized weights, so that its bit operations do not "
                "follow from bits; take --search-from random"
            )
        found = []
        for layer in cost.layers:
            path, source = sources[layer.name]
            found.append(LayerBops(path, source if source in space.choices else "", layer.macs))
        return tuple(found)

    def weight_bits(self, layer: LayerBops, bits: Mapping[str, int]) -> int:
        """Return the bits of a layer's weights in a network of these bits."""
        return bits.get(layer.path, self._fixed.get(layer.path, 0))

    def count(self, bits: Mapping[str, int]) -> float:
        """Return the bit operations an image of a network.

        Args:
            bits: of every quantizer that has a choice.
        """
        return sum(
            layer.bops(self.weight_bits(layer, bits), bits[layer.source] if layer.source else 0)
            for layer in self.layers
        )


def _counted(
    space: SearchSpace, bits: Widths, data_root: str | Path | None
) -> tuple[NetworkCost, dict[str, tuple[str, str]]]:
    """Count one network; return that, and of each layer of its graph the paths of its weights and what comes in."""
    recipe = space.recipe(bits)
    model = model_of(recipe, data_root)
    linted = lint_network(model.eval(), image_shape(recipe.data, data_root, recipe.data_options))
    every = {**space.fixed(), **bits}
    weights = [path for path in every if hasattr(model.get_submodule(path), "weight_quant")]
    activations = [path for path in every if path not in weights]
    layers = layers_of(linted.graph(), weights, activations)
    return cost_of_linted(linted), {layer.node: (path, layer.source) for path, layer in layers.items()}
