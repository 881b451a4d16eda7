"""From a float module to a FINN-safe network: as source that works at any bits, and with calibrated weights.

found = quantize(model, (3, 32, 32), mean=(0.49, 0.48, 0.45), std=(0.25, 0.24, 0.26))
Path("q.py").write_text(found.source)      # class at any bits
network = found.calibrate(images, 8)       # uint8 [N, 3, 32, 32]
torch.save(network.state_dict(), "q.pt")   # its weights
"""

from qtrain.models.quantize.network import Quantized, quantize
from qtrain.models.quantize.ops import Refusal, Refused

__all__ = ["Quantized", "Refusal", "Refused", "quantize"]
