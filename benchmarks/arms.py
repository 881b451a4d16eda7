"""The arms of the training benchmarks, each in a process of its own: bnn_pynq's trainer, this project's, the ceilings.

bnn_pynq's model and loss classes are used as brevitas ships them; its trainer imports torchvision, which has no CPU
build for every torch, so its step (trainer.py: one-hot targets, loss, Adam, clip_weights, a reading of the accuracy
every 10 steps) is driven from here, and a per-sample pipeline in plain torch stands in for torchvision's transforms
behind a DataLoader. It has a network for CNV alone: for others its arm is this project's network in its step.

TF32 is as each trainer has it: bnn_pynq leaves torch's default, which lets convolutions use it; this project's exact
path does without, and so do the products alone.

A process for each arm, because an allocator's settings and a compiler's caches belong to a process. They take turns.
"""

from __future__ import annotations

import itertools
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from qtrain.data import Batches, Split
from qtrain.models import build_model, parse_name
from qtrain.models.fast_forward import fast_forward
from qtrain.recipe import Recipe, default_recipe
from qtrain.training.losses import LOSSES
from qtrain.training.memory import keep_freed_memory
from qtrain.training.setup import make_session
from qtrain.training.tf32 import tf32

LOG_EVERY = 10  # bnn_pynq's log_freq
WORKERS = 4  # bnn_pynq's --workers, where the device is not the CPU that they would take from
SIZE = 32


@dataclass(frozen=True)
class Setting:
    """What is trained.

    Attributes:
        network: name with its bit widths.
        batch_size: images a step.
        device: cpu or cuda.
        pipeline: with the data and their augmentation; without, one batch is used again.
        images: in the training split, random bytes: times do not depend on them.
        width: of the network.
    """

    network: str
    batch_size: int
    device: str = "cpu"
    pipeline: bool = True
    images: int = 5000
    width: float = 1.0


Step = Callable[[], None]


class Samples(Dataset):  # type: ignore[type-arg]
    """Image by image: pad, crop, flip, convert, as torchvision's transforms do."""

    def __init__(self, split: Split):
        self._split = split

    def __len__(self) -> int:
        return len(self._split)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        padded = F.pad(self._split.images[i], (4, 4, 4, 4))
        y, x = torch.randint(0, 9, (2,)).tolist()
        image = padded[:, y : y + SIZE, x : x + SIZE]
        if torch.rand(1).item() < 0.5:
            image = image.flip(-1)
        return image.contiguous().float().div(255), self._split.labels[i]


def _split(setting: Setting) -> Split:
    count = max(setting.images, 2 * setting.batch_size)
    return Split(torch.randint(0, 256, (count, 3, SIZE, SIZE), dtype=torch.uint8), torch.arange(count) % 10)


def _bnn_pynq(setting: Setting, compiled: bool = False) -> Step:
    from brevitas_examples.bnn_pynq.models.CNV import CNV
    from brevitas_examples.bnn_pynq.models.losses import SqrHingeLoss

    name, device = parse_name(setting.network), torch.device(setting.device)
    if name.family == "CNV" and setting.width == 1:
        model: Any = CNV(10, name.weight_bits, name.act_bits, 8, 3)
        clip = lambda: model.clip_weights(-1, 1)  # noqa: E731
    else:
        model = build_model(setting.network, width=setting.width)
        clip = model.clip_weights
    model.to(device).train()
    forward = torch.compile(model) if compiled else model
    criterion, optimizer = SqrHingeLoss(), torch.optim.Adam(model.parameters(), lr=0.02)
    options = {"num_workers": WORKERS, "persistent_workers": True, "pin_memory": True} if device.type == "cuda" else {}
    loader = DataLoader(Samples(_split(setting)), setting.batch_size, shuffle=True, drop_last=True, **options)  # type: ignore[arg-type]
    stream = (batch for _ in itertools.count() for batch in loader)
    fixed = next(iter(loader))
    steps = itertools.count()

    def step() -> None:
        images, labels = (part.to(device, non_blocking=True) for part in (next(stream) if setting.pipeline else fixed))
        target = torch.empty(len(labels), 10, device=device).fill_(-1).scatter_(1, labels.unsqueeze(1), 1)
        output = forward(images)
        loss = criterion(output, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        clip()
        if next(steps) % LOG_EVERY == 0:
            output.detach().topk(5)[1].eq(labels[:, None]).sum().item()
            loss.item()

    return step


def _recipe(setting: Setting, **changes: Any) -> Recipe:
    recipe = default_recipe(setting.network, "cifar10")
    return recipe.replace(batch_size=setting.batch_size, width=setting.width, lr=0.02, **changes)


def _qtrain(setting: Setting, network: str | None = None, **changes: Any) -> Step:
    """The loop's own session: ASLR's draws, the sums, the clipped weights."""
    recipe = _recipe(setting, **changes)
    keep_freed_memory()
    model = build_model(network or setting.network, width=setting.width)
    fast_forward(model, recipe.precision)
    model.to(setting.device).to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    batches = Batches(_split(setting).to(setting.device), setting.batch_size, seed=0, augment=True, flip=True)
    session, loss_function = make_session(model, recipe, batches), LOSSES[recipe.loss]
    fixed = next(batches.epoch(0))

    def pipeline() -> Iterator[Tensor]:
        while True:
            for loss in session.steps(loss_function):
                yield loss
                session.after_step()
            session.next_epoch()

    stream = pipeline()

    def step() -> None:
        with tf32(recipe.precision == "fast"):  # as the loop does
            if setting.pipeline:
                next(stream)
            else:
                session.step(loss_function, *fixed)

    return step


def _products_alone(setting: Setting) -> Step:
    """The float twin's convolutions and matrix products, forward and backward, and nothing else: no step is faster."""
    keep_freed_memory()
    model = build_model(f"{parse_name(setting.network).family}_FLOAT", width=setting.width)
    model.to(setting.device).to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    layers: list[tuple[nn.Module, Tensor]] = []
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(lambda layer, inputs, _: layers.append((layer, inputs[0].detach())))
    images = torch.rand(setting.batch_size, 3, SIZE, SIZE, device=setting.device)
    model(images.to(memory_format=torch.channels_last))
    for layer, _ in layers:
        layer._forward_hooks.clear()
    for _, x in layers[1:]:  # the images need no gradient
        x.requires_grad_()
    with torch.no_grad():
        gradients = [torch.randn_like(layer(x)) for layer, x in layers]

    def step() -> None:
        with tf32(False):  # float32, as the exact path multiplies
            for (layer, x), gradient in zip(layers, gradients, strict=True):
                x.grad = None
                layer.zero_grad()
                layer(x).backward(gradient)

    return step


ARMS: dict[str, Callable[[Setting], Step]] = {
    "bnn_pynq": _bnn_pynq,
    "bnn_pynq compiled": lambda s: _bnn_pynq(s, compiled=True),
    "qtrain": _qtrain,
    "qtrain compiled": lambda s: _qtrain(s, compile=True),
    "qtrain fast": lambda s: _qtrain(s, precision="fast"),
    "qtrain fast compiled": lambda s: _qtrain(s, precision="fast", compile=True),
    "float twin compiled": lambda s: _qtrain(s, f"{parse_name(s.network).family}_FLOAT", compile=True),
    "products alone": _products_alone,
}


class Arm:
    """One arm in its process.

    Args:
        name: of ``ARMS``.
        setting: what it trains.
        threads: torch's.
    """

    def __init__(self, name: str, setting: Setting, threads: int):
        self.name, self._images = name, setting.batch_size
        context = get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, name, setting, threads), daemon=False)
        self._process.start()
        theirs.close()
        self.start_seconds = self.seconds(1)  # to the first step's end, compilation included

    def seconds(self, steps: int) -> float:
        """Take so many steps; return their processor seconds on a CPU, real seconds on a GPU."""
        self._pipe.send(steps)
        return float(self._pipe.recv())

    def rate(self, steps: int) -> float:
        """Images a second over so many steps."""
        return steps * self._images / self.seconds(steps)

    def stop(self) -> None:
        """End the process."""
        self._pipe.send(0)
        self._process.join()


def _serve(pipe: Any, name: str, setting: Setting, threads: int) -> None:
    warnings.filterwarnings("ignore")
    torch.set_num_threads(threads)
    gpu = setting.device == "cuda"

    def now() -> float:
        if gpu:
            torch.cuda.synchronize()
        return time.perf_counter() if gpu else time.process_time()

    begun = time.perf_counter()
    step = ARMS[name](setting)
    first = True
    while steps := pipe.recv():
        start = now()
        for _ in range(steps):
            step()
        end = now()
        pipe.send(time.perf_counter() - begun if first else end - start)
        first = False
