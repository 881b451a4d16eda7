"""The words of a command line, before a parser reads them and as they are shown again."""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, get_args, get_origin, get_type_hints

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


def in_brackets(text: str) -> str:
    """Write a list as YAML has it, ``0.5,0.75`` as ``[0.5,0.75]``; one that has its brackets stays."""
    return text if text.lstrip().startswith("[") or not text.strip() else f"[{text}]"


def without_brackets(text: str) -> str:
    """Write a list as words on a command line are, ``[1,2]`` as ``1,2``; brackets inside mean something else."""
    inside = text.strip()[1:-1]
    is_list = text.strip() == f"[{inside}]" and not set("[]") & set(inside)
    return inside if is_list else text


def respelled(words: Sequence[str], kinds: Mapping[str, Any], listed: Collection[str]) -> list[str]:
    """Write lists as the parser reads them: numbers in brackets, texts without.

    Args:
        words: behind the command, normalised.
        kinds: what each option takes, by its name; None for a switch.
        listed: options whose text is a list; an empty name stands for words that belong to no option.
    """
    spelled: list[str] = []
    name = ""  # of the option that waits for its value
    for word in words:
        option, equals, value = word.partition("=")
        if option.startswith("--"):
            name = option[2:]
            spelled.append(f"{option}={_respelled(value, kinds.get(name), name in listed)}" if equals else word)
            if equals or kinds.get(name) is None:
                name = ""
        else:
            spelled.append(_respelled(word, kinds.get(name), name in listed))
            name = ""
    return spelled


def _respelled(text: str, kind: Any, is_listed: bool) -> str:
    if is_listed:
        return without_brackets(text)
    if get_origin(kind) is tuple:
        return in_brackets(text)
    takes_a_list = any(get_origin(part) is tuple for part in get_args(kind)) and str not in get_args(kind)
    return in_brackets(text) if takes_a_list and "," in text else text


def names_in(text: str) -> list[str]:
    """Return the names of a comma-separated list, as they were given; an empty text has none."""
    return [name.strip() for name in text.split(",")] if text else []
