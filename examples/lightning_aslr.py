"""ASLR trains a LightningModule, whose Brevitas network becomes a FINN folder: lightning_aslr.py --out runs/lightning.

It needs Lightning: pip install "qtrain[lightning]". What each part is for is in docs/lightning.md.
"""

import argparse
from pathlib import Path
from typing import Any

import lightning
import torch
from small_net import SmallNet
from torch import Tensor, nn
from torch.optim.lr_scheduler import LinearLR
from torch.utils.data import DataLoader, TensorDataset

from qtrain import ASLR, layer_groups
from qtrain.data import Split, load_data
from qtrain.export import export_finn


class Classifier(lightning.LightningModule):
    """Lightning calls the scheduler after each validation; the draws before each optimizer step come by themselves."""

    def __init__(self, model: nn.Module, lr: float, warmup_steps: int):
        super().__init__()
        self.model = model
        self.lr = lr
        self.warmup_steps = warmup_steps

    def training_step(self, batch: list[Tensor], index: int) -> Tensor:
        """Return the loss of a batch."""
        images, labels = batch
        return nn.functional.cross_entropy(self.model(images), labels)

    def validation_step(self, batch: list[Tensor], index: int) -> None:
        """Log the top-1 error, the cost of the paper's search."""
        images, labels = batch
        wrong = self.model(images).argmax(1) != labels
        self.log("error", wrong.float().mean(), prog_bar=True)

    def configure_optimizers(self) -> Any:
        """Return the optimizer and ASLR, which monitors the error."""
        optimizer = torch.optim.SGD(layer_groups(self.model), lr=self.lr, momentum=0.9)
        self.scheduler = ASLR(optimizer, warmup_steps=self.warmup_steps)
        monitored = {"scheduler": self.scheduler, "monitor": "error", "reduce_on_plateau": True}
        return {"optimizer": optimizer, "lr_scheduler": monitored}


class AfterLinearLR(Classifier):
    """torch's LinearLR warms up, step by step; then ASLR takes over, from the rate where it ended."""

    def configure_optimizers(self) -> Any:
        """Return the optimizer alone: its schedulers are called below."""
        optimizer = torch.optim.SGD(layer_groups(self.model), lr=self.lr, momentum=0.9)
        self.warmup = LinearLR(optimizer, start_factor=0.1, total_iters=self.warmup_steps)
        self.scheduler: ASLR | None = None
        return optimizer

    def on_train_batch_end(self, outputs: Any, batch: Any, index: int) -> None:
        """Step the warm-up; when it is over, make ASLR."""
        if self.scheduler is None:
            self.warmup.step()
            if self.warmup.last_epoch == self.warmup_steps:
                self.scheduler = ASLR(self.optimizers().optimizer)

    def on_validation_epoch_end(self) -> None:
        """Tell ASLR the error."""
        if self.scheduler is not None:
            self.scheduler.step(self.trainer.callback_metrics["error"])


def loader(split: Split, shuffle: bool = False) -> DataLoader:
    """Return a loader of float images in [0, 1], which are what the network is exported for."""
    return DataLoader(TensorDataset(split.images / 255, split.labels), batch_size=50, shuffle=shuffle)


def main() -> None:
    """Train, export, and say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--bits", type=int, default=4)
    parser.add_argument("--lr", type=float, default=0.02)
    parser.add_argument("--warmup-steps", type=int, default=20)
    parser.add_argument("--linear-lr", action="store_true", help="warm up by torch's LinearLR in place of ASLR's own")
    parser.add_argument("--board", default="Pynq-Z1")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()

    lightning.seed_everything(0, verbose=False)
    data = load_data("digits")
    kind = AfterLinearLR if options.linear_lr else Classifier
    module = kind(SmallNet(options.bits), options.lr, options.warmup_steps)
    trainer = lightning.Trainer(
        max_epochs=options.epochs,
        accelerator="cpu",
        default_root_dir=options.out,
        num_sanity_val_steps=0,  # the search is to see no error of an untrained network
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, loader(data.train, shuffle=True), loader(data.validation))
    proof = export_finn(
        module.model.eval(),
        options.out / "finn",
        pixels=data.test.images,
        labels=data.test.labels,
        board=options.board,
        network=f"SmallNet_{options.bits}W{options.bits}A",
        data=data.facts(),
    )
    rate = module.scheduler.lr if module.scheduler is not None else options.lr
    print(f"lr {rate:g} at the end, {proof.accuracy_torch:.2f} % of the test images right")
    print(f"{proof.equal} of {proof.images} equal in torch and in the graph: {options.out / 'finn'}")


if __name__ == "__main__":
    main()
