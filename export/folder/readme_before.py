"""README.md of FINN folders that say nothing of their data: ``verify`` holds those from before to these words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

TRIED = (
    "FINN+ (`finn-plus` 1.6.1)",
    "official FINN `main`, commit 39f0c9a6b, with qonnx fd61cfe",
    "official FINN `dev`, commit 73ba5ed64, with qonnx f5c9819",
)

_TEXT = """# {network} for FINN

For {board} at {target_fps:,} frames/s and {clock_ns:g} ns. {accuracy:.2f} % top-1 on {images:,} test images, on each of
which the exported graph and torch in float64 give the same class. `qtrain verify .` repeats that proof.

## Files

| file | what |
|---|---|
| `model.onnx` | the network as QONNX, from pixels to the class |
| `build_config.yaml` | the whole build for FINN+: steps, board, clock, target |
| `build.py`, `official_build_config.json` | the same for official FINN; `build.py` adds the steps, runs in FINN+ too |
| `custom_steps.py`, `custom_transforms.py` | the steps between FINN's import and its dataflow partition |
| `input.npy`, `expected_output.npy` | images and their classes, which FINN's own checks of the build use |
{folding_row}| `proof/`, `stages/` | the test set with torch's answers; the graph after each pass of the exporter |
| `manifest.json` | what was proven, of which run, versions, checksums |

## Build

FINN+, in its environment, with Vivado's `settings64.sh` sourced:

```sh
cd FOLDER
finn build build_config.yaml model.onnx
```

Official FINN, in a checkout of it, with `FINN_XILINX_PATH` and `FINN_XILINX_VERSION` set:

```sh
./run-docker.sh build_custom FOLDER
```

`build_custom` runs `build.py` under a debugger and ends with status 0 whatever happened; the last line that `build.py`
prints counts. FINN's other mode, `build_dataflow`, cannot take steps from a folder and is not served.

Estimates alone need no Vivado:

```sh
python build.py --estimates                                                            # in FINN's environment
FINN_DOCKER_EXTRA="-v FOLDER:FOLDER -w FOLDER " ./run-docker.sh python build.py --estimates      # official FINN
qtrain estimate FOLDER                                                                           # FINN+, by qtrain
```

FOLDER is an absolute path. All is written to `output/`. `build.py` ends with status 0 where the whole network became
one dataflow partition, FINN's executions of the graph gave the classes of `expected_output.npy`, and all that was asked
for was built; else with 1 and one line. A FAIL of `finn_onnx_python` or `initial_python` does not count where
`streamlined_python` passes for that image: only from there on are there integers alone, before it float32 rounds.
Without Vivado and Vitis HLS it stops at the estimates and says so.

## Tried with

{tried}

Up to the estimates: the build from there on is FINN's own.

## At the board

- Input: uint8, the image's values 0 to 255 as they are; the division by 255 is part of the network.
- Layout: {layout}
- Output: one class index for each image, counted from 0.

## Clock

{clock_ns:g} ns are {mhz:g} MHz. For another clock let qtrain fold anew for it, which changes all files that name it:

```sh
qtrain estimate FOLDER --clock-ns 5 --save-folding
```

Frames/s grow with the clock as long as Vivado meets its timing; `output/report` says whether it did. The driver that
official FINN writes sets 100 MHz whatever was built: pass `fclk_mhz={mhz:g}` to its `FINNExampleOverlay`.
"""

_FOLDING_ROW = (
    "| `folding_config.json` | the folding to start from, made by {made_by} and for it alone |\n"
    "| `official_folding_config.json` | of it what official FINN has by the same names: matrix units and thresholds |\n"
)


def readme_before(manifest: Mapping[str, Any], shape: Sequence[int]) -> str:
    """Return the text of the README of a folder whose manifest has no ``input``.

    Args:
        manifest: the folder's; ``network``, ``board``, ``target_fps``, ``clock_ns``, ``proof``, and ``folding`` where
            one was saved.
        shape: of an image: channels, height, width.
    """
    channels, height, width = shape
    folding = manifest.get("folding")
    return _TEXT.format(
        **{name: manifest[name] for name in ("network", "board", "target_fps", "clock_ns")},
        accuracy=manifest["proof"]["accuracy_graph"],
        images=manifest["proof"]["images"],
        mhz=round(1000 / manifest["clock_ns"], 3),
        tried="\n".join(f"- {version}" for version in TRIED),
        layout=f"channels last, [N, {height}, {width}, {channels}], where `model.onnx` and `input.npy` have channels "
        "first: FINN leaves that one transpose to the host.",
        folding_row=_FOLDING_ROW.format(made_by=folding["made_by"]) if folding else "",
    )
