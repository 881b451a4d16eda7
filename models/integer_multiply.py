"""What integers are multiplied in: as few bits as hold them and their sums.

A float32 convolution of dequantized values rounds each product. One of integers rounds nothing while a sum stays below
the output type's largest exact integer, and the scales are applied once, afterwards (`qtrain.models.fused`). The
backward pass multiplies the same integers with the gradients, in bfloat16.
"""

import torch
from torch import Tensor

from qtrain.models.fast_quantizer import FastQuantizer

Dtypes = tuple[torch.dtype, torch.dtype]  # of the forward and of the backward pass
HALF_LIMIT = 2048  # float16 holds every integer up to it, and of larger ones every second at most
TENSOR_CORES = (7, 0)  # first compute capability that multiplies float16 in them
AMPERE = (8, 0)  # first that has TF32 and bfloat16


def grid_dtypes(device: torch.device, x: FastQuantizer, weight: FastQuantizer, values: Tensor) -> Dtypes | None:
    """What a layer multiplies in; None where float32 is all that the device has.

    Args:
        device: of the operands.
        x: the input's quantizer.
        weight: the weights' quantizer.
        values: weights [outputs, ...].
    """
    if device.type == "cuda":
        largest = max(x.largest, weight.largest)
        bound = x.largest * weight.largest * values[0].numel()
        return cuda_dtypes(torch.cuda.get_device_capability(device), largest, bound)
    # On a CPU that has bfloat16 both passes use it: sums are rounded to 8 bits there.
    return (torch.bfloat16, torch.bfloat16) if device.type == "cpu" and _cpu_has_bfloat16() else None


def cuda_dtypes(capability: tuple[int, int], largest: float, bound: float) -> Dtypes | None:
    """What a GPU multiplies integers in; None where float32 is all that helps.

    1 and 2 bits go in float16 while a sum is exact there, more in float32, which tensor cores read as TF32: 8-bit
    integers fit it, and the sums too. Gradients are multiplied in bfloat16. GPUs before compute capability 8.0 have
    neither, and float16 has too narrow a range for gradients: theirs are multiplied in float32.

    Args:
        capability: of the GPU, as torch tells it.
        largest: magnitude of an operand.
        bound: of the magnitude of a sum.
    """
    half = largest <= 2 and bound <= HALF_LIMIT
    if capability >= AMPERE:
        return (torch.float16 if half else torch.float32), torch.bfloat16
    return (torch.float16, torch.float32) if half and capability >= TENSOR_CORES else None


def _cpu_has_bfloat16() -> bool:
    return torch.cpu._is_avx512_bf16_supported()
