"""From names to loggers; nothing of a logger is imported before it is made."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec

from qtrain.errors import UserError
from qtrain.extras import install_line
from qtrain.training.loggers.logger import Logger

DEFAULT = ("tensorboard",)
NONE = "none"


@dataclass(frozen=True)
class _Row:
    """Where a logger is, and what it needs beside qtrain's own dependencies.

    Attributes:
        module: below ``qtrain.training.loggers``.
        kind: the class in it.
        packages: modules that must be installed.
        extra: of qtrain, which brings them.
    """

    module: str
    kind: str
    packages: tuple[str, ...] = ()
    extra: str = ""


LOGGERS = {
    "tensorboard": _Row("tensorboard", "TensorBoard"),
    "csv": _Row("csv_table", "CsvTable"),
    "wandb": _Row("wandb", "WeightsAndBiases", ("wandb",), "wandb"),
    "mlflow": _Row("mlflow", "MLflow", ("mlflow",), "mlflow"),
}


def parse_loggers(text: str) -> tuple[str, ...]:
    """Return the names of a comma-separated list; ``none`` names no logger."""
    if text.strip() == NONE:
        return ()
    return tuple(name.strip() for name in text.split(","))


def check_loggers(names: Sequence[str]) -> None:
    """See that there are such loggers, and that what they need is installed.

    Raises:
        UserError: one is unknown, named twice, or its package is missing.
    """
    for number, name in enumerate(names):
        if name not in LOGGERS:
            raise UserError(f"a logger must be one of {', '.join(LOGGERS)}, but got {name!r}")
        if name in names[:number]:
            raise UserError(f"logger {name} is named twice; name it once")
        row = LOGGERS[name]
        for package in row.packages:
            if not _is_installed(package):
                raise UserError(f"logger {name} needs {package}, which is not installed; {install_line(row.extra)}")


def make_loggers(names: Sequence[str]) -> dict[str, Logger]:
    """Make loggers by their names; they begin with the run.

    Raises:
        UserError: as ``check_loggers``.
    """
    check_loggers(names)
    made = {}
    for name in names:
        row = LOGGERS[name]
        made[name] = getattr(import_module(f"qtrain.training.loggers.{row.module}"), row.kind)()
    return made


def _is_installed(package: str) -> bool:
    """Whether it is; a folder that a logger has written into, as ./wandb, looks like a package without a file."""
    spec = find_spec(package)
    return spec is not None and spec.origin is not None
