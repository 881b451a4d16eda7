"""The random number generators that anybody's code may draw from: Python's, NumPy's and torch's."""

import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def kept_generators(gpus: Iterable[int] = ()) -> Iterator[None]:
    """Whatever is drawn inside, the generators go on afterwards as if it had not been.

    Args:
        gpus: indices of the CUDA devices whose generators are kept too; to look at one starts CUDA.
    """
    of_python, of_numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=list(gpus)):
        try:
            yield
        finally:
            random.setstate(of_python)
            np.random.set_state(of_numpy)
