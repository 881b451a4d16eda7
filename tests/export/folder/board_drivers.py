"""Drivers with the interface of FINN's, over the exported graph instead of an FPGA.

The modules below are written as files, since the check imports a file. They pack and unpack as FINN's do: an image's
bytes are folded to the accelerator's parallelism, packed into buffers that the DMA reads, and read back from there. The
"hardware" is qtrain's executor on ``model.onnx``, which sees nothing but those bytes.
"""

import json
from pathlib import Path

OFFICIAL = """
import numpy as np
from driver_base import FINNExampleOverlay


class DataType:
    def __init__(self, name):
        self.name = name


io_shape_dict = {{
    "idt": [DataType("{kind}")],
    "odt": [DataType("UINT4")],
    "ishape_normal": [{shape}],
    "oshape_normal": [{gives}],
    "ishape_folded": [(1, {pixels}, 1)],
    "oshape_folded": [(1, 1, 1)],
    "ishape_packed": [(1, {pixels}, 1)],
    "oshape_packed": [(1, 1, 1)],
    "input_dma_name": ["idma0"],
    "output_dma_name": ["odma0"],
    "number_of_external_weights": 0,
    "num_inputs": {inputs},
    "num_outputs": 1,
}}
"""

BASE = '''
import sys

import numpy as np

FAULT = {fault!r}


class Accelerator:
    """What lies behind the DMA: it reads an image's bytes in the order height, width, channels."""

    def __init__(self):
        from qonnx.core.modelwrapper import ModelWrapper

        from qtrain.export.execute.executor import Executor  # seconds, which a refusal does not need

        self.graph = Executor(ModelWrapper({model!r}))
        self.calls = 0

    def run(self, packed):
        import torch

        order = (0, 3, 1, 2)
        images = packed.reshape(len(packed), *{image})
        if FAULT == "layout":  # channels first, against what its shapes say
            channels_first = ({image}[2], {image}[0], {image}[1])
            images, order = packed.reshape(len(packed), *channels_first), (0, 1, 2, 3)
        pixels = torch.from_numpy(images.transpose(order).copy())
        classes = self.graph(pixels)[self.graph.output].flatten().numpy()
        if FAULT == "class" and self.calls == 1:
            classes[2] = (classes[2] + 1) % 10
        self.calls += 1
        return classes.reshape(-1, 1, 1).astype(np.uint8)


class {name}:
    def __init__(self, bitfile_name, platform, io_shape_dict, batch_size=1, fclk_mhz=100.0, device=None,
                 download=True, runtime_weight_dir="runtime_weights/", **more):
        if FAULT == "start":
            raise RuntimeError("no such bitfile\\nand more")
        assert open(bitfile_name).read() == "bits"
        assert platform == "zynq-iodma"
        print("clock", fclk_mhz, file=sys.stderr)
        self._shapes = io_shape_dict
        self.accelerator = Accelerator()
        self.batch_size = batch_size

    @property
    def batch_size(self):
        return self._batch_size

    @batch_size.setter
    def batch_size(self, value):
        self._batch_size = value
        self.ibuf = np.zeros(self._shape("ishape_packed"), np.uint8)
        self.obuf = np.zeros(self._shape("oshape_packed"), np.uint8)

    def _shape(self, name):
        return (self.batch_size, *self._shapes[name][0][1:])

    def execute(self, values):
        assert values.shape == self._shape("ishape_normal")
        folded = values.reshape(self._shape("ishape_folded"))
        assert folded.dtype == np.uint8  # FINN packs bytes as they are; other types through strings, for minutes
        np.copyto(self.ibuf, folded.view(np.uint8))
        self.execute_on_buffers()
        if FAULT == "execute":
            raise AssertionError
        return self.obuf.astype(np.float32).reshape(self._shape("oshape_normal"))

    def execute_on_buffers(self):
        self.obuf[:] = self.accelerator.run(self.ibuf)
'''

PACKAGE = """
def get_driver_class(driver_type):
    if driver_type != "FINNDMAOverlay":
        raise ValueError(f"Unknown driver type {driver_type}")
    from finn_plus_driver.dma import FINNDMAOverlay

    return FINNDMAOverlay
"""


def write_official(finn: Path, deploy: Path, fault: str = "", **shapes: object) -> None:
    """Write FINN's ``output/deploy`` as official FINN does.

    Args:
        finn: FINN folder.
        deploy: folder to make.
        fault: ``class`` (one wrong answer), ``layout`` (reads channels first), ``start``, ``execute``, or none.
        shapes: other entries of ``io_shape_dict``: kind, shape, gives, inputs.
    """
    image = _image(finn)
    height, width, channels = image
    driver = _deploy(deploy)
    said = {"kind": "UINT8", "shape": (1, *image), "gives": (1, 1), "inputs": 1, "pixels": height * width * channels}
    said |= shapes
    (driver / "driver.py").write_text(OFFICIAL.format(**said))
    (driver / "driver_base.py").write_text(_base(finn, fault, "FINNExampleOverlay"))


def write_plus(finn: Path, deploy: Path, packages: Path, driver_type: str = "FINNDMAOverlay") -> None:
    """Write ``output/deploy`` as FINN+ does, and the package of its driver into ``packages``."""
    image = _image(finn)
    pixels = image[0] * image[1] * image[2]
    shapes = {
        "idt": ["DataType['UINT8']"],
        "odt": ["DataType['UINT4']"],
        "idma_names": ["idma0"],
        "odma_names": ["odma0"],
        "ishape_normal": [[1, *image]],
        "oshape_normal": [[1, 1]],
        "ishape_folded": [[1, pixels, 1]],
        "oshape_folded": [[1, 1, 1]],
        "ishape_packed": [[1, pixels, 1]],
        "oshape_packed": [[1, 1, 1]],
        "num_inputs": 1,
        "num_outputs": 1,
        "number_of_external_weights": 0,
    }
    settings = {"driver_type": driver_type, "io_shape_dict": shapes, "platform": "zynq-iodma", "fclk_mhz": 100.0}
    settings |= {"external_weights": False, "runtime_weights": False}
    driver = _deploy(deploy)
    (driver / "settings.json").write_text(json.dumps({"driver_information": settings, "experiment_information": {}}))
    package = packages / "finn_plus_driver"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(PACKAGE)
    (package / "dma.py").write_text(_base(finn, "", "FINNDMAOverlay"))


def _image(finn: Path) -> tuple[int, int, int]:
    height, width, channels = json.loads((finn / "manifest.json").read_text())["at_board"]["input"]["shape"]
    return height, width, channels


def _deploy(deploy: Path) -> Path:
    (deploy / "bitfile").mkdir(parents=True)
    (deploy / "bitfile" / "finn-accel.bit").write_text("bits")
    (deploy / "driver").mkdir()
    return deploy / "driver"


def _base(finn: Path, fault: str, name: str) -> str:
    model = str((finn / "model.onnx").resolve())
    return BASE.format(fault=fault, model=model, image=_image(finn), name=name)
