"""Whether a network can be trained as a recipe says, asked before the first step."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from qtrain.data import DataSet, ordered_batches
from qtrain.errors import UserError
from qtrain.models import FAMILIES, build_model, parse_name
from qtrain.models.same import first_difference
from qtrain.recipe import Recipe

_OTHER_SEED = 1
_LOOK_AT = 2  # images; with one, an output without the batch's dimension would pass


def check_model(model: nn.Module, data: DataSet) -> None:
    """See that ``model`` gives logits of the data's classes; its state and the random numbers stay as they are.

    Args:
        model: on the device of the data.
        data: that it is to be trained on.

    Raises:
        UserError: it takes other images, its output is not float32 logits [N, classes], not finite or another one each
            time, or it has nothing to train.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trained:
        raise UserError(f"{_name(model)} has no parameters to train; see that their requires_grad is True")
    check_answers(model, data)


def check_answers(model: nn.Module, data: DataSet) -> None:
    """See what ``check_model`` sees, but for whether there is anything to train.

    Raises:
        UserError: as ``check_model`` does.
    """
    for name, parameter in model.named_parameters():
        if parameter.dtype != torch.float32:
            raise UserError(
                f"{_name(model)} has {name} in {_dtype(parameter)}, and training keeps weights in float32; call "
                "model.float(), and choose --precision fast for speed"
            )
        if not parameter.isfinite().all():
            raise UserError(f"{name} of {_name(model)} holds NaN or infinite weights; build or load it anew")
    logits = _logits(model, data)
    check_logits(logits, min(_LOOK_AT, len(data.train)), data.classes, _name(model))
    if not logits.isfinite().all():
        raise UserError(f"{_name(model)} returns NaN or infinite logits before it is trained; look at its statistics")
    again = _logits(model, data, seed=_OTHER_SEED)
    if not torch.allclose(logits, again, rtol=1e-3, atol=1e-4):  # a GPU may round otherwise from call to call
        raise UserError(
            f"{_name(model)} answers otherwise each time that it is called, in evaluation mode too, so that no "
            "accuracy would be its own; let it draw or count in training mode alone (if self.training)"
        )


def check_logits(logits: Any, images: int, classes: int, name: str) -> None:
    """See that an output is float32 [images, classes], by its type and shape alone: no number is looked at twice.

    Raises:
        UserError: it is not; says what to do.
    """
    if not isinstance(logits, Tensor):
        mend = "return its value, or build the last layer with return_quant_tensor=False"
        if not hasattr(logits, "value"):
            mend = "return the logits alone"
        raise UserError(f"{name} returns a {type(logits).__name__}, and training needs a tensor of logits; {mend}")
    if logits.shape != (images, classes):
        raise UserError(
            f"{name} returns {list(logits.shape)} for {images} images, and the data have {classes} classes: "
            f"[{images}, {classes}] is needed; give its last layer {classes} outputs"
        )
    if logits.dtype != torch.float32:
        raise UserError(f"{name} returns logits in {_dtype(logits)}; return them in float32")


def check_labels(data: DataSet) -> None:
    """See that every label is one of the data's classes.

    Raises:
        UserError: a split has another.
    """
    for name in ("train", "validation", "test"):
        labels = getattr(data, name).labels
        low = int(labels.min())
        high = int(labels.max())
        if low < 0 or high >= data.classes:
            raise UserError(
                f"labels of {data.name}'s {name} split go from {low} to {high}, but it has {data.classes} classes: "
                f"they must be class numbers from 0 to {data.classes - 1}"
            )


def check_start(recipe: Recipe, start: Mapping[str, Any] | None) -> None:
    """See that whoever trains by a recipe that starts from other weights has read them, and can say which.

    Raises:
        UserError: nobody has.
    """
    if recipe.init_from is not None and start is None:
        raise UserError(
            f"the recipe starts from {recipe.init_from}, but train reads no weights; use "
            "qtrain.experiments.run.train_recipe(recipe, out), which reads them and records where they come from"
        )


def check_same(model: nn.Module, recipe: Recipe, data: DataSet) -> None:
    """See that ``model`` is the network that the recipe names, since its run folder will say so.

    Args:
        model: of any weights.
        recipe: whose network may be another name than the zoo's, for a module of one's own.
        data: that the recipe names, or what is trained on in its place.

    Raises:
        UserError: the recipe's network is built otherwise; says where.
    """
    if not is_zoo_name(recipe.network):
        return
    _, channels, height, columns = _some_images(data).shape
    described = recipe.replace(init_from=None)
    wanted = build_model(described, num_classes=data.classes, in_channels=channels, image_size=(height, columns))
    if (other := first_difference(model, wanted)) is not None:
        raise UserError(
            f"the model is not the recipe's {recipe.network} at width {recipe.width:g}: {other}; make it with "
            "build_model(recipe), or give a network of your own another name in the recipe, such as my_net"
        )


def is_zoo_name(network: str) -> bool:
    """Whether a recipe's network is one of the zoo's, at any bits."""
    if ":" in network:
        return False
    try:
        return parse_name(network).family in FAMILIES
    except UserError:
        return False


def _some_images(data: DataSet) -> Tensor:
    """Float [2, C, H, W] as evaluation gives them to a network."""
    count = min(_LOOK_AT, len(data.train))
    images, _ = next(ordered_batches(data.train.take(count), count))
    return images


@torch.no_grad()
def _logits(model: nn.Module, data: DataSet, seed: int = 0) -> Any:
    """What the model says of some training images in evaluation mode, which moves none of its statistics.

    Random numbers that it draws then come from ``seed``, and training's stay as they are.
    """
    images = _some_images(data)
    modes = [(module, module.training) for module in model.modules()]
    devices = [images.device] if images.is_cuda else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        model.eval()
        try:
            return model(images)
        except (RuntimeError, ValueError, IndexError, TypeError, KeyError, AttributeError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise UserError(
                f"{_name(model)} cannot take the images of {data.name}, float {list(images.shape)}: {reason}"
            ) from None
        finally:
            for module, training in modes:
                module.training = training


def _name(model: nn.Module) -> str:
    return str(getattr(model, "name", type(model).__name__))


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
