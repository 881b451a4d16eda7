"""README.md of a FINN folder: what is in it, how each compiler builds it, what the board is fed, what to expect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qtrain.export.compiler.boards import get_board
from qtrain.export.folder.readme_before import readme_before

README = "README.md"
FEW_CLASSES = 10

_HEAD = """# {network} for FINN

For {target} at {target_fps:,} frames/s and {clock_ns:g} ns. {accuracy:.2f} % top-1 on {images:,} test images, on each
of which the exported graph and torch in float64 give the same class. `qtrain verify .` repeats that proof.

## Files

| file | what |
|---|---|
| `model.onnx` | the network as QONNX, from pixels to the class |
| `build_config.yaml` | the whole build for FINN+: steps, {kind}, clock, target |
| `build.py`, `official_build_config.json` | the same for official FINN; `build.py` adds the steps, runs in FINN+ too |
| `custom_steps.py`, `custom_transforms.py` | the steps between FINN's import and its dataflow partition |
| `input.npy`, `expected_output.npy` | images and their classes, which FINN's own checks of the build use |
{folding_row}| `board/` | to copy to the board: test images, labels, classes, and `check_on_board.py`, which compares |
| `proof/`, `stages/` | the test set with torch's answers; the graph after each pass of the exporter |
| `manifest.json` | what was proven, of which run and data, what to expect, versions, checksums |

## Data

- {source}
- Classes: {classes}
- Values: {values}
{statistics}
"""

_BUILD = """## Build

FINN+, in its environment, with Vivado's `settings64.sh` sourced:

```sh
cd FOLDER
{finn_plus}
```

Official FINN, in a checkout of it, with `FINN_XILINX_PATH` and `FINN_XILINX_VERSION` set:

```sh
{official}
```

`build_custom` runs `build.py` under a debugger and ends with status 0 whatever happened; the last line that `build.py`
prints counts. FINN's other mode, `build_dataflow`, cannot take steps from a folder and is not served.
{part_alone}
Estimates alone need no Vivado:

```sh
{estimates}    # in FINN's environment
{official_estimates}    # official FINN
{finn_plus_estimates}    # FINN+, by qtrain
```

FOLDER is an absolute path. All is written to `output/`. `build.py` ends with status 0 where the whole network became
one dataflow partition, FINN's executions of the graph gave the classes of `expected_output.npy`, and all that was asked
for was built; else with 1 and one line. A FAIL of `finn_onnx_python` or `initial_python` does not count where
`streamlined_python` passes for that image: only from there on are there integers alone, before it float32 rounds.
Without Vivado and Vitis HLS it stops at the estimates and says so.

## Tried with

{tried}

Up to the estimates: the build from there on is FINN's own.

"""

_BOARD = """## At the board

- Input: uint8, the bytes 0 to 255 as they are; the division by 255 is part of the network.
- Layout: channels last, [N, {height}, {width}, {channels}], where `model.onnx` and `input.npy` have channels first:
  FINN leaves that one transpose to the host.
- Output: one class index for each image, counted from 0.
- Check: copy `board/` and FINN's `output/deploy/` to the board and run there, in PYNQ's Python,

```sh
python3 board/check_on_board.py deploy
```

It compares the class of every image with the proof's, names the first that differs, prints accuracy and frames/s, and
ends with 1 where one differs. It needs NumPy and FINN's driver: official FINN writes that into `deploy/driver`, for
FINN+ `pip install finn-plus-driver` on the board brings it.

## Expected

- Accuracy: {accuracy:.2f} % on the {images:,} images of `board/`.
- Frames/s: {target_fps:,} are folded for. {estimate}

## Clock

{clock_ns:g} ns are {mhz:g} MHz. For another clock let qtrain fold anew for it, which changes all files that name it:

```sh
qtrain estimate FOLDER --clock-ns 5 --save-folding
```

Frames/s grow with the clock as long as Vivado meets its timing; `output/report` says whether it did. The driver that
official FINN writes sets 100 MHz whatever was built: pass `fclk_mhz={mhz:g}` to its `FINNExampleOverlay`, as
`check_on_board.py` does.
"""

_FOLDING_ROW = (
    "| `folding_config.json` | the folding to start from, made by {made_by} and for it alone |\n"
    "| `official_folding_config.json` | of it what official FINN has by the same names: matrix units and thresholds |\n"
)
_PART_ALONE = """
{part} is a part without a board, for which FINN has no shell: the build ends with the stitched IP
(`output/stitched_ip`) and its synthesis out of context, without bitfile and driver. `board/check_on_board.py` then
needs a shell of your own and a `driver.py` with the interface of FINN's. Resources counted against: {resources}.
"""


def folder_readme(manifest: Mapping[str, Any], shape: Sequence[int]) -> str:
    """Return the text of a FINN folder's README.

    Args:
        manifest: the folder's; one that has no ``input`` is of an earlier export, whose words stay as they were.
        shape: of an image: channels, height, width.
    """
    if "input" not in manifest:
        return readme_before(manifest, shape)
    channels, height, width = shape
    board = get_board(manifest["board"])
    folding = manifest.get("folding")
    resources = ", ".join(f"{amount:,} {kind}" for kind, amount in board.resources.items())
    return (_HEAD + _BUILD + _BOARD).format(
        **{name: manifest[name] for name in ("network", "target_fps", "clock_ns")},
        **manifest["commands"],
        **_of_data(manifest["input"]),
        target=board.label,
        kind="part" if board.is_part else "board",
        accuracy=manifest["proof"]["accuracy_graph"],
        images=manifest["proof"]["images"],
        channels=channels,
        height=height,
        width=width,
        mhz=round(1000 / manifest["clock_ns"], 3),
        part_alone=_PART_ALONE.format(part=board.part, resources=resources) if board.is_part else "",
        tried="\n".join(f"- {version}" for version in manifest["tried_with"]),
        estimate=_estimate(folding),
        folding_row=_FOLDING_ROW.format(made_by=folding["made_by"]) if folding else "",
    )


def _of_data(data: Mapping[str, Any]) -> dict[str, str]:
    """Return what the README says of the data."""
    channels, height, width = data["shape"]
    name = _line(data["name"]) or "not named at the export"
    low, high = data["value_range"]
    values = f"a byte stands for {low:g} + byte * {high - low:g} / 255: 0 for {low:g}, 255 for {high:g}"
    if (low, high) == (0, 255):
        values = "bytes from the start: 0 stands for 0 and 255 for 255"
    statistics = ""
    if data["mean"] and data["deviation"]:
        mean = ", ".join(f"{value:.4g}" for value in data["mean"])
        deviation = ", ".join(f"{value:.4g}" for value in data["deviation"])
        statistics = f"- Training split, by channel, bytes over 255: mean {mean}; standard deviation {deviation}\n"
    return {
        "source": f"Source: {name}; {data['layout']} where it comes from, [{channels}, {height}, {width}] in `proof/`",
        "classes": _classes([_line(name) for name in data["class_names"]]),
        "values": values,
        "statistics": statistics,
    }


def _classes(names: Sequence[str]) -> str:
    if not names:
        return "not named at the export; they are counted from 0"
    more = f" and {len(names) - FEW_CLASSES} more (`board/classes.json`)" if names[FEW_CLASSES:] else ""
    return f"{len(names)}, counted from 0: {', '.join(names[:FEW_CLASSES])}{more}"


def _line(text: str) -> str:
    """Return a name as one line of at most 60 characters."""
    return " ".join(text.split())[:60]


def _estimate(folding: Mapping[str, Any] | None) -> str:
    """Return the sentences on FINN's estimate: that of a saved folding, where there is one."""
    fps = folding.get("estimated_fps") if folding else None
    if not folding or fps is None:
        return "`qtrain estimate FOLDER --save-folding` records FINN's estimate here."
    return (
        f"FINN ({folding['made_by']}) estimates {fps:,.0f} with the saved\n  folding. That is computed from formulas, "
        "before synthesis, and optimistic: real designs come out slower."
    )
