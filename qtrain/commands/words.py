"""The words of a command line, before a parser reads them and as they are shown again."""

import re
from collections.abc import Collection, Sequence
from typing import get_type_hints

from qtrain.recipe import Recipe

_ALIASES = {"--random_seed": "--seed"}  # bnn_pynq's name
_RANGE = "value_range"
_SWITCHES = [name for name, kind in get_type_hints(Recipe).items() if kind is bool]


def dashed(text: str) -> str:
    """Options as they are shown: ``--batch_size`` as ``--batch-size``."""
    return re.sub(r"--[a-z][a-z_]*", lambda m: m[0].replace("_", "-"), text)


def normalised(argv: Sequence[str]) -> list[str]:
    """``--target-fps=5`` as ``--target_fps=5``, values as they are; ``--config`` first, so that all else wins.

    A switch needs no value: before another option or at the end ``--compile`` is ``--compile=true``, and
    ``--no-compile`` is ``--compile=false`` anywhere.
    """
    words: list[str] = []
    for i, word in enumerate(argv):
        if words and i > 0 and _is_range(word) and argv[i - 1] == f"--{_RANGE.replace('_', '-')}":
            words[-1] += f"={word}"  # -1,1 looks like an option
            continue
        name, equals, value = word.partition("=")
        if name.startswith("--"):
            name = "--" + name[2:].replace("-", "_")
            word = _ALIASES.get(name, name) + equals + value
            if name.startswith("--no_") and name[5:] in _SWITCHES and not equals:
                word = f"--{name[5:]}=false"
            elif name[2:] in _SWITCHES and not equals and (i + 1 == len(argv) or argv[i + 1].startswith("--")):
                word = f"{name}=true"
        words.append(word)
    config: list[str] = []
    while (at := next((i for i, w in enumerate(words) if w.partition("=")[0] == "--config"), None)) is not None:
        end = at + 1 if "=" in words[at] else at + 2
        config += words[at:end]
        del words[at:end]
    return words[:1] + config + words[1:]


def _is_range(word: str) -> bool:
    return re.fullmatch(r"-[\d.][^=]*,.*", word) is not None


def without(argv: Sequence[str], names: Collection[str]) -> list[str]:
    """Normalised words without these options, which all take a value, and without their values."""
    kept: list[str] = []
    words = iter(argv)
    for word in words:
        name, equals, _ = word.partition("=")
        if not (name.startswith("--") and name[2:] in names):
            kept.append(word)
        elif not equals:
            next(words, None)
    return kept


def names_in(text: str) -> list[str]:
    """The names of a comma-separated list, as they were given."""
    return [name.strip() for name in text.split(",")]
