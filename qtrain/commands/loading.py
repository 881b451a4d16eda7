"""What a person sees before torch is there."""

import sys


def say_loading() -> None:
    """Say on a terminal that torch is being loaded, which takes seconds; nothing where it is loaded already.

    A command calls this behind everything that it can refuse without torch.
    """
    if "torch" not in sys.modules and sys.stderr.isatty():
        print("loading torch", file=sys.stderr, flush=True)
