"""Commands that train one network: ``train`` and ``lr-range``."""

from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from qtrain.arguments import dashed, given_recipe
from qtrain.errors import UserError


def train_command(parser: ArgumentParser, argv: list[str], options: Namespace) -> int:
    """Train a network into a run folder, or continue one; under torchrun on several processes."""
    from qtrain.training.distributed import one_voice
    from qtrain.training.progress import tell

    with one_voice() as ranks:
        line = _train(parser, argv, options, ranks.is_first)
        if ranks.is_first:
            tell(line)
    return 0


def _train(parser: ArgumentParser, argv: list[str], options: Namespace, talks: bool) -> str:
    """Do so, and return what there is to say of the result; until then, ``talks`` shows progress."""
    from qtrain.experiments.run import resume_run, train_recipe
    from qtrain.training import Silent, Terminal
    from qtrain.training.progress import tell

    watch = Terminal() if talks else Silent()
    if options.resume is not None:
        given = [word for word in argv[1:] if word.startswith("--") or word == options.network]
        extra = [w for w in given if w.partition("=")[0] not in ("--resume", "--data_root", "--device")]
        if extra:
            raise UserError(f"--resume continues the folder's own recipe; leave out {dashed(', '.join(extra))}")
        out = Path(options.resume)
        result = resume_run(out, data_root=options.data_root, device=options.device, watch=watch)
    else:
        options, recipe = given_recipe(parser, argv)
        stem = f"{recipe.network}-{recipe.data}-{recipe.scheduler}-seed{recipe.seed}"
        out = Path(options.out or f"runs/{stem}")
        machine: dict[str, Any] = {"data_root": options.data_root, "device": options.device}
        result = train_recipe(recipe, out, watch=watch, say=tell if talks else lambda _: None, **machine)
    return (
        f"{out}: test accuracy {result.test_accuracy:.2f} % (epoch {result.best_epoch} of {result.epochs}, "
        f"best validation {result.validation_accuracy:.2f} %), {result.seconds:.0f} s"
    )


def lr_range_command(parser: ArgumentParser, argv: list[str], options: Namespace) -> int:
    """Find a learning rate to start from, and draw the curve."""
    from qtrain.experiments.lr_range import find_lr
    from qtrain.report.lr_range import check_figure, range_lines, write_range_figure
    from qtrain.training import Terminal

    options, recipe = given_recipe(parser, argv)
    out = Path(options.out or f"runs/lr-range-{recipe.network}-{recipe.data}-{recipe.optimizer}.png")
    check_figure(out)  # before minutes of training
    numbers = {name: options[name] for name in ("low", "high", "steps", "every")}
    search = find_lr(recipe, **numbers, data_root=options.data_root, device=options.device, watch=Terminal())
    found = search.found.to_dict()
    print(*range_lines(found, search.seconds), sep="\n")
    write_range_figure(found, f"{recipe.network} on {recipe.data}, {recipe.optimizer}: learning-rate range test", out)
    print(f"{out}: the curve")
    return 0
