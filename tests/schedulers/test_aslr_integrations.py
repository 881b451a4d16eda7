"""ASLR, unchanged, inside Lightning and accelerate (the extra ``lightning``)."""

import importlib.util
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from qtrain import ASLR, layer_groups

BATCHES = 4


def make_data():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(BATCHES * 8, 6, generator=generator)
    return TensorDataset(inputs, (inputs.sum(1) > 0).long())


def make_model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))


@pytest.fixture
def lightning():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Lightning about itself; ours are errors again below
        module = pytest.importorskip("lightning", reason="needs the extra: pip install qtrain[lightning]")
        warnings.filterwarnings("error", module="qtrain")
        yield module


def make_lightning_module(lightning):
    class Classifier(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.model = make_model()
            self.trace, self.draws = [], []

        def training_step(self, batch, index):
            return nn.functional.cross_entropy(self.model(batch[0]), batch[1])

        def validation_step(self, batch, index):
            # rises every third epoch, so that the centre moves
            self.log("error", 0.5 - 0.01 * self.current_epoch + 0.2 * (self.current_epoch % 3 == 1))

        def on_train_batch_end(self, outputs, batch, index):
            self.draws.append(list(self.scheduler.last_draws))

        def on_train_epoch_end(self):
            self.trace.append((self.current_epoch, self.scheduler.lr))

        def configure_optimizers(self):
            optimizer = torch.optim.SGD(layer_groups(self.model), lr=0.1)
            self.scheduler = ASLR(optimizer, seed=3)
            return {
                "optimizer": optimizer,
                "lr_scheduler": {"scheduler": self.scheduler, "monitor": "error", "reduce_on_plateau": True},
            }

    return Classifier()


def fit(lightning, folder, epochs, checkpoint=None, callbacks=(), **kwargs):
    module = make_lightning_module(lightning)
    trainer = lightning.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        devices=1,
        logger=kwargs.pop("logger", False),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=folder,
        callbacks=list(callbacks),
        **kwargs,
    )
    loaders = DataLoader(make_data(), batch_size=8), DataLoader(make_data(), batch_size=8)
    trainer.fit(module, *loaders, ckpt_path=checkpoint)
    return module, trainer


def test_lightning_drives_the_centre_and_draws_for_each_batch(lightning, tmp_path):
    module, trainer = fit(lightning, tmp_path, 5)
    assert [config.scheduler for config in trainer.lr_scheduler_configs] == [module.scheduler]
    assert module.scheduler.lr == 0.3  # epochs 1 and 4 were worse, each after an improvement
    assert module.scheduler.last_epoch == 5
    assert len({lr for draw in module.draws for lr in draw}) == 5 * BATCHES * 2


def test_lightning_draws_once_an_optimizer_step_when_accumulating(lightning, tmp_path):
    module, _ = fit(lightning, tmp_path, 1, accumulate_grad_batches=2)
    assert module.draws[0] == [0.1, 0.1]
    assert module.draws[1] == module.draws[2] != module.draws[3]


def test_lightning_resumes_from_a_checkpoint_on_the_same_trajectory(lightning, tmp_path):
    whole, _ = fit(lightning, tmp_path, 6)
    first, trainer = fit(lightning, tmp_path, 3)
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    assert torch.load(tmp_path / "half.ckpt", weights_only=True)["lr_schedulers"][0]["search"]["lr"] == "0.2"
    second, _ = fit(lightning, tmp_path, 6, checkpoint=tmp_path / "half.ckpt")
    assert first.draws + second.draws == whole.draws
    assert first.trace + second.trace == whole.trace
    for name, value in whole.state_dict().items():
        assert torch.equal(second.state_dict()[name], value), name


def test_lightnings_monitor_logs_the_rate_of_each_layer(lightning, tmp_path):
    monitor = lightning.pytorch.callbacks.LearningRateMonitor(logging_interval="epoch")
    fit(lightning, tmp_path, 2, callbacks=[monitor], logger=lightning.pytorch.loggers.CSVLogger(tmp_path))
    assert monitor.lrs == {"lr-SGD/0": [0.1, 0.1], "lr-SGD/3": [0.1, 0.1]}


def run_accelerate(epochs, *, prepare_scheduler, accumulate=1, resume=None, save=None):
    accelerate = pytest.importorskip("accelerate", reason="needs the extra: pip install qtrain[lightning]")
    accelerate.state.AcceleratorState._reset_state(True)
    accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=accumulate)
    model = make_model()
    optimizer = torch.optim.SGD(layer_groups(model), lr=0.1)
    scheduler = ASLR(optimizer, seed=3)
    model, optimizer, loader = accelerator.prepare(model, optimizer, DataLoader(make_data(), batch_size=8))
    stepper = accelerator.prepare(scheduler) if prepare_scheduler else scheduler
    if not prepare_scheduler:
        accelerator.register_for_checkpointing(scheduler)
    if resume:
        accelerator.load_state(str(resume))
    draws = []
    for epoch in epochs:
        for inputs, labels in loader:
            with accelerator.accumulate(model):
                accelerator.backward(nn.functional.cross_entropy(model(inputs), labels))
                optimizer.step()
                optimizer.zero_grad()
            draws.append(list(scheduler.last_draws))
        stepper.step(0.5 - 0.01 * epoch + 0.2 * (epoch % 3 == 1))
    if save:
        accelerator.save_state(str(save))
    return scheduler, draws, [p.detach().clone() for p in model.parameters()]


@pytest.mark.parametrize("prepare_scheduler", [True, False], ids=["prepared", "beside"])
def test_accelerate_draws_for_each_optimizer_step(prepare_scheduler):
    scheduler, draws, _ = run_accelerate(range(5), prepare_scheduler=prepare_scheduler)
    assert scheduler.lr == 0.3
    assert len({lr for draw in draws for lr in draw}) == 5 * BATCHES * 2


def test_accelerate_draws_once_an_optimizer_step_when_accumulating():
    scheduler, draws, _ = run_accelerate(range(2), prepare_scheduler=True, accumulate=2)
    assert draws[0] == [0.1, 0.1]
    assert draws[1] == draws[2] != draws[3]
    assert scheduler.lr == 0.2


@pytest.mark.parametrize("prepare_scheduler", [True, False], ids=["prepared", "beside"])
def test_accelerate_resumes_from_a_saved_state_on_the_same_trajectory(prepare_scheduler, tmp_path):
    options = {"prepare_scheduler": prepare_scheduler}
    whole, draws, weights = run_accelerate(range(6), **options)
    _, first, _ = run_accelerate(range(3), save=tmp_path / "half", **options)
    again, second, resumed = run_accelerate(range(3, 6), resume=tmp_path / "half", **options)
    assert first + second == draws
    assert again.search == whole.search
    assert all(torch.equal(a, b) for a, b in zip(weights, resumed, strict=True))


def test_aslr_takes_an_optimizer_that_accelerate_has_wrapped():
    accelerate = pytest.importorskip("accelerate", reason="needs the extra: pip install qtrain[lightning]")
    accelerate.state.AcceleratorState._reset_state(True)
    parameter = nn.Parameter(torch.zeros(3))
    optimizer = accelerate.Accelerator(cpu=True).prepare(torch.optim.SGD([parameter], lr=0.1))
    scheduler = ASLR(optimizer)
    parameter.grad = torch.ones(3)
    optimizer.step()
    assert scheduler.last_draws != [0.1]
    torch.testing.assert_close(parameter.detach(), torch.full((3,), -scheduler.last_draws[0]))


@pytest.fixture
def example(lightning, monkeypatch):
    """Return examples/lightning_aslr.py as a module."""
    folder = Path(__file__).parents[2] / "examples"
    monkeypatch.syspath_prepend(str(folder))
    spec = importlib.util.spec_from_file_location("lightning_aslr", folder / "lightning_aslr.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_linear_lr_hands_over_to_aslr_inside_lightning(lightning, example, tmp_path):
    class Watched(example.AfterLinearLR):
        def on_train_batch_start(self, batch, index):
            self.rates.append(self.optimizers().param_groups[0]["lr"])

    module = Watched(make_model(), 0.1, warmup_steps=6)
    module.rates = []
    loader = DataLoader(make_data(), batch_size=8)
    trainer = lightning.Trainer(
        max_epochs=3,
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=tmp_path,
    )
    trainer.fit(module, loader, loader)
    assert module.rates[:7] == pytest.approx([0.01, 0.025, 0.04, 0.055, 0.07, 0.085, 0.1])
    assert module.scheduler.drawn == 3 * BATCHES - 6
    assert module.scheduler.last_epoch == 2  # the validations after it was made
    assert str(module.scheduler.lr0) == "0.1"
