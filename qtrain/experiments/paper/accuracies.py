"""The accuracies of the ASLR paper's Tables I, III and IV, each with the recipe that comes closest to its own.

The paper prints no recipes; these are the public ones (docs of the shipped YAML files name the sources). Which of its
CIFAR-10 and ImageNet networks stand in Table III and which in IV was not at hand: here III has CIFAR-10, IV ImageNet.
Table II is times, see ``qtrain.experiments.paper.line_search_cost``.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from qtrain.recipe import Recipe, default_recipe

BASELINE = "baseline"
TABLES = ("table1", "table3", "table4")


@dataclass(frozen=True)
class PaperRow:
    """One accuracy of the paper.

    Attributes:
        table: table1, table3 or table4.
        label: the paper's name of the network.
        network: ours, with its bit widths.
        data: data set.
        scheduler: ours; "baseline" is the recipe's own hand-tuned schedule.
        accuracy: the paper's, in percent, mean of three seeds.
        epochs: of a full run.
        changes: what the shipped recipe has otherwise.
    """

    table: str
    label: str
    network: str
    data: str
    scheduler: str
    accuracy: float
    epochs: int
    changes: Mapping[str, Any] = field(default_factory=dict)

    def recipe(self, **more: Any) -> Recipe:
        """Return the full run's recipe with ``more`` changed; its lr is the tuned baseline's, where ASLR starts."""
        shipped = default_recipe(self.network, self.data)
        recipe = shipped.replace(**{"network": self.network, "epochs": self.epochs, **self.changes, **more})
        return recipe.replace(scheduler=recipe.baseline if self.scheduler == BASELINE else self.scheduler)


# Table I: lr0 0.1, 150 epochs; optimizer not printed. The paper's "L4" is L4Mom here: its base is SGD with momentum.
_TABLE1 = {"optimizer": "sgd", "momentum": 0.9, "lr": 0.1, "weight_decay": 0.0, "loss": "cross_entropy"}
_TABLE1_ACCURACIES = {
    "l4mom": {("cifar10", 64): 87.5, ("cifar10", 128): 86.2, ("cifar100", 64): 63.7, ("cifar100", 128): 60.8},
    "armijo": {("cifar10", 64): 93.4, ("cifar10", 128): 93.6, ("cifar100", 64): 73.8, ("cifar100", 128): 74.8},
    "aslr": {("cifar10", 64): 93.6, ("cifar10", 128): 94.2, ("cifar100", 64): 74.5, ("cifar100", 128): 75.7},
}
# maltanar/brevitas_cnv_lfc, of the paper's time
_CNV = {
    "optimizer": "sgd",
    "momentum": 0.9,
    "lr": 0.1,
    "milestones": (0.5, 0.6, 0.7, 0.8),
    "gamma": 0.1,
    "batch_size": 128,
    "weight_decay": 5e-5,
    "loss": "cross_entropy",
}


def _pair(
    table: str, label: str, network: str, data: str, accuracies: tuple[float, float], epochs: int, **more: Any
) -> tuple[PaperRow, PaperRow]:
    """Return ASLR's row and its baseline's; ``accuracies`` are the baseline's and ASLR's, as the paper prints them."""
    baseline, aslr = accuracies
    return (
        PaperRow(table, label, network, data, "aslr", aslr, epochs, **more),
        PaperRow(table, label, network, data, BASELINE, baseline, epochs, **more),
    )


def _table1() -> Iterator[PaperRow]:
    for data, batch in _TABLE1_ACCURACIES["aslr"]:
        for scheduler in ("aslr", "armijo", "l4mom"):
            accuracy = _TABLE1_ACCURACIES[scheduler][data, batch]
            changes = {**_TABLE1, "batch_size": batch}
            yield PaperRow(
                "table1", f"ResNet34, batch {batch}", "RESNET34_FLOAT", data, scheduler, accuracy, 150, changes
            )


ROWS: tuple[PaperRow, ...] = (
    *_pair("table3", "CNV_1bit", "CNV_1W1A", "cifar10", (78.5, 78.5), 1000, changes=_CNV),
    *_pair("table3", "ResNet20 v1", "RESNET20_FLOAT", "cifar10", (92.2, 92.2), 200),
    *_pair("table3", "VGG11 8 bits", "VGG11_8W8A", "cifar10", (91.5, 91.4), 200),
    *_pair("table3", "VGG11 6 bits", "VGG11_6W6A", "cifar10", (91.2, 91.2), 200),
    *_pair("table3", "WRN20_1bit", "WRN20_PAPER_1W32A", "cifar10", (95.2, 94.9), 120),
    *_pair("table3", "ResNet56 v1", "RESNET56_FLOAT", "cifar10", (93.3, 93.9), 200),
    *_pair("table3", "DenseNet40 k=12", "DENSENET40_FLOAT", "cifar10", (92.8, 92.9), 300),
    *_table1(),
    *_pair("table4", "ResNet10", "RESNET10_FLOAT", "imagenet", (65.5, 66.0), 120),
    *_pair("table4", "VGG11", "VGG11_IMAGENET_FLOAT", "imagenet", (67.7, 70.9), 120),
    *_pair("table4", "ResNet50", "RESNET50_FLOAT", "imagenet", (75.2, 75.2), 120),
)
# Table II: seconds an epoch, times ASLR's
TIME_RATIOS: dict[str, tuple[float, float]] = {"l4mom": (1.35, 1.40), "armijo": (1.51, 1.52)}
