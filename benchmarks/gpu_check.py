"""Whether the fast path is right on this device: `make gpu-check`, about two minutes on a GPU.

For each network the same steps are taken by Brevitas' own forward pass in float32 and by this project's paths: exact,
fast, compiled, and captured in a CUDA graph where there is one. Checked are the losses of 20 steps, the first step's
gradients, the classes in evaluation mode, the integer grid against float64, and an export of what was trained here.
One line a check; exit status 1 where one fails.

Usage: python benchmarks/gpu_check.py [--device cuda] [--networks CNV_1W1A,CNV_4W4A] [--width 1] [--no-compile]
"""

from __future__ import annotations

import argparse
import copy
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from common import RESULTS, append
from torch import Tensor, nn
from torch.nn import functional as F

from qtrain.data import Batches, Split
from qtrain.export import ProofError, export_finn
from qtrain.models import build_model
from qtrain.models.fast_forward import fast_forward, plain_forward
from qtrain.recipe import Recipe, default_recipe
from qtrain.training.losses import LOSSES
from qtrain.training.session import make_session
from qtrain.training.tf32 import tf32

NETWORKS = "CNV_1W1A,CNV_2W2A,CNV_4W4A,CNV_8W8A,VGG11_4W4A,RESNET20_4W4A"
STEPS, BATCH = 20, 100
Say = Callable[[str, bool, str], None]
# Of the mean loss. Two float32 paths drift apart from the first rounding that flips a quantized value on.
DRIFT = {"exact": 0.02, "captured": 0.02, "compiled": 0.02, "fast": 0.05}
COSINE = {"exact": 0.999, "captured": 0.999, "compiled": 0.999, "fast": 0.98}


def data(count: int) -> Split:
    """Images that can be learned: each class has a mean of its own."""
    torch.manual_seed(0)
    labels = torch.arange(count) % 10
    means = torch.rand(10, 3, 1, 1) * 255
    pixels = (means[labels] + 60 * torch.randn(count, 3, 32, 32)).clamp(0, 255)
    return Split(pixels.to(torch.uint8), labels)


def losses_of(model: nn.Module, recipe: Recipe, split: Split, *, capture: bool) -> list[float]:
    """Take steps as the loop does."""
    model.train()
    batches = Batches(split, BATCH, seed=0, augment=True, flip=True)
    session = make_session(model, recipe, batches)
    if not capture:
        session.captures = False
    found = []
    with tf32(recipe.precision == "fast"):
        for images, labels in batches.epoch(0):
            found.append(session.step(LOSSES[recipe.loss], images, labels).clone())
            model.clip_weights()  # type: ignore[operator]
            session.after_step()
    if session.captures and not session.captured:
        raise RuntimeError("the step was not captured")
    return torch.stack(found).tolist()  # type: ignore[no-any-return]


def gradient(model: nn.Module, images: Tensor, labels: Tensor, fast: bool) -> Tensor:
    """Of one step, flat."""
    model.train().zero_grad()
    with tf32(fast):
        F.cross_entropy(model(images), labels).backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@torch.no_grad()
def classes_off(model: nn.Module, images: Tensor) -> tuple[int, int]:
    """Images whose class differs from float64's, in float32 and on the grid; all with the batch's statistics."""
    exact, fast, double = (copy.deepcopy(model) for _ in range(3))
    fast_forward(exact)
    fast_forward(fast, "fast")
    plain_forward(double)
    truth = double.double().train()(images.double()).argmax(1)
    with tf32(False):
        single = exact.train()(images).argmax(1)
    with tf32(True):
        grid = fast.train()(images).argmax(1)
    return int((single != truth).sum()), int((grid != truth).sum())


def check(
    network: str, device: torch.device, width: float, compiles: bool, say: Callable[[str, bool, str], None]
) -> None:
    """All checks of one network."""
    split = data(STEPS * BATCH).to(device)
    recipe = default_recipe(network, "cifar10").replace(lr=0.005, batch_size=BATCH, width=width)
    torch.manual_seed(0)
    start = build_model(network, width=width).to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images, labels = split.images[:BATCH].float() / 255, split.labels[:BATCH]
    plain = copy.deepcopy(start)
    reference = losses_of(plain, recipe, split, capture=False)
    paths: dict[str, dict[str, Any]] = {"exact": {}, "fast": {"precision": "fast"}}
    paths |= {"captured": {}} if device.type == "cuda" else {}
    paths |= {"compiled": {"compile": True}} if compiles else {}
    true_gradient = gradient(copy.deepcopy(start), images, labels, False)
    trained = plain
    for path, changes in paths.items():
        model, own = copy.deepcopy(start), recipe.replace(**changes)
        fast_forward(model, own.precision)
        found = losses_of(copy.deepcopy(model), own, split, capture=path == "captured")
        drift = abs(sum(found) - sum(reference)) / abs(sum(reference))
        say(f"{path}: {STEPS} losses", drift < DRIFT[path], f"mean off by {100 * drift:.4f} %")
        own_gradient = gradient(model, images, labels, own.precision == "fast")
        cosine = float(F.cosine_similarity(own_gradient, true_gradient, dim=0))
        say(f"{path}: gradients", cosine > COSINE[path], f"cosine {cosine:.6f}")
        trained = model
    with torch.no_grad(), tf32(False):
        plain.load_state_dict(trained.state_dict())
        differ = int((plain.eval()(images).argmax(1) != trained.eval()(images).argmax(1)).sum())
    say("evaluation is Brevitas'", differ == 0, f"{differ} of {len(images)} classes differ")
    sample = split.images[:1000].float() / 255
    single, grid = classes_off(trained, sample)
    detail = f"{grid} of {len(sample)} classes differ from float64's, {single} in float32"
    say("integer grid", grid <= single + len(sample) // 200, detail)
    with tempfile.TemporaryDirectory() as scratch:
        try:
            proof = export_finn(
                trained.cpu(), Path(scratch) / "finn", pixels=split.images[:64].cpu(), labels=split.labels[:64].cpu()
            )
            say("export", proof.equal == proof.images, f"{proof.equal} of {proof.images} images equal")
        except ProofError as error:
            say("export", False, str(error))


def main() -> None:
    """Check every network; end with status 1 where a check fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--networks", default=NETWORKS)
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        parser.error("there is no GPU here; --device cpu tries the same checks on the CPU")
    warnings.filterwarnings("ignore", module=r"(brevitas|torch|onnx|qonnx)\b")
    device, failed = torch.device(options.device), []
    for network in options.networks.split(","):
        lines: list[dict[str, Any]] = []

        def say(name: str, passed: bool, detail: str, network: str = network, lines: list[Any] = lines) -> None:
            lines.append({"check": name, "passed": passed, "detail": detail})
            print(f"{'ok  ' if passed else 'FAIL'} {network} {name}: {detail}", flush=True)
            if not passed:
                failed.append(f"{network} {name}")

        check(network, device, options.width, not options.no_compile, say)
        where = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
        append("gpu_check", {"network": network, "width": options.width, "device": where, "checks": lines}, options.out)
    raise SystemExit(f"{len(failed)} checks failed: {'; '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
