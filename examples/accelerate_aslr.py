"""ASLR in a loop of Hugging Face's accelerate, then a FINN folder: accelerate_aslr.py --out runs/accelerate.

It needs accelerate: pip install "qtrain[lightning]". ``accelerate launch accelerate_aslr.py ...`` runs it on several
processes. What each part is for is in docs/lightning.md.
"""

import argparse
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from small_net import SmallNet
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from qtrain import ASLR, layer_groups
from qtrain.data import load_data
from qtrain.export import export_finn


def main() -> None:
    """Train, export, and say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--bits", type=int, default=4)
    parser.add_argument("--lr", type=float, default=0.02)
    parser.add_argument("--board", default="Pynq-Z1")
    parser.add_argument("--resume", type=Path, help="state of an earlier call, its OUT/state")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()

    set_seed(0)
    data = load_data("digits")
    train = DataLoader(TensorDataset(data.train.images / 255, data.train.labels), batch_size=50, shuffle=True)
    validation = DataLoader(TensorDataset(data.validation.images / 255, data.validation.labels), batch_size=50)
    accelerator = Accelerator(cpu=True)
    network = SmallNet(options.bits)
    optimizer = torch.optim.SGD(layer_groups(network), lr=options.lr, momentum=0.9)
    scheduler = ASLR(optimizer, warmup_steps=20)
    model, optimizer, train, validation = accelerator.prepare(network, optimizer, train, validation)
    accelerator.register_for_checkpointing(scheduler)  # and not prepared, which would call it once a process
    if options.resume is not None:
        accelerator.load_state(str(options.resume))

    for _ in range(scheduler.last_epoch, options.epochs):
        model.train()
        for images, labels in train:
            optimizer.zero_grad()
            accelerator.backward(nn.functional.cross_entropy(model(images), labels))
            optimizer.step()  # ASLR draws before it
        model.eval()
        wrong = []
        for images, labels in validation:
            with torch.no_grad():
                mistakes = (model(images).argmax(1) != labels).float()
            wrong.append(accelerator.gather_for_metrics(mistakes))
        scheduler.step(torch.cat(wrong).mean())  # the same error on every process
    accelerator.save_state(str(options.out / "state"))

    if accelerator.is_main_process:
        proof = export_finn(
            accelerator.unwrap_model(model).eval(),
            options.out / "finn",
            pixels=data.test.images,
            labels=data.test.labels,
            board=options.board,
            network=f"SmallNet_{options.bits}W{options.bits}A",
            data=data.facts(),
        )
        print(f"lr {scheduler.lr:g} at the end, {proof.accuracy_torch:.2f} % of the test images right")
        print(f"{proof.equal} of {proof.images} equal in torch and in the graph: {options.out / 'finn'}")


if __name__ == "__main__":
    main()
