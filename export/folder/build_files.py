"""What FINN and FINN+ read beside the model: two configurations, the script that starts the build, its steps."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import yaml

from qtrain.export.compiler.boards import Board, build_target
from qtrain.export.folder.contents import SHIPPED, SHIPPED_FROM

FINN_PLUS_CONFIG = "build_config.yaml"
# Read by build.py alone. Not dataflow_build_config.json: FINN's own mode of that name cannot take steps of a folder.
OFFICIAL_CONFIG = "official_build_config.json"
BUILD_SCRIPT = "build.py"
MVAU_WWIDTH_MAX = 36  # FINN's default

# Ours, in `custom_steps.py`, in place of FINN's step_streamline and step_convert_to_hw; then FINN+'s own.
_OWN_STEPS = (
    "exact_thresholds",
    "encode_signs",
    "streamline_scales",
    "lower_convolutions",
    "channels_last",
    "binary_matmuls",
    "global_pool",
    "convert_to_hardware",
)
_FINN_PLUS_STEPS = (
    "minimize_bit_width_initial",
    "create_dataflow_partition",
    "specialize_layers",
    "target_fps_parallelization",
    "apply_folding_config",
    "minimize_bit_width",
    "transpose_decomposition",
    "generate_estimate_reports",
    "assign_ddr_weight_offsets",
    "generate_hardware",
    "create_stitched_ip",
    "measure_rtlsim_performance",
    "out_of_context_synthesis",
    "prepare_synthesis",
    "synthesize_bitfile",
    "make_driver",
    "deployment_package",
)
BUILD_STEPS = (
    "step_qonnx_to_finn",
    "step_tidy_up",
    *(f"custom_steps.step_{name}" for name in _OWN_STEPS),
    *(f"step_{name}" for name in _FINN_PLUS_STEPS),
)
OUTPUTS = ("estimate_reports", "stitched_ip", "rtlsim_performance", "bitfile", "pynq_driver", "deployment_package")
PART_OUTPUTS = ("estimate_reports", "stitched_ip", "rtlsim_performance", "out_of_context_synth")  # no shell, no bitfile
VERIFIED = ("finn_onnx_python", "initial_python", "streamlined_python")  # what FINN executes without Vivado or Vitis


def build_config(
    board: Board, target_fps: int, clock_ns: float, folding: str | None = None, mvau_wwidth_max: int = MVAU_WWIDTH_MAX
) -> dict[str, Any]:
    """FINN+'s build configuration: a whole build, checked against the golden pair on the way.

    It ends with a bitfile and its driver, for a part without a board with the synthesis of the stitched IP.

    Args:
        board: to build for.
        target_fps: frames a second that FINN folds for; a folding wins over it.
        clock_ns: clock period in nanoseconds.
        folding: name of the folding configuration to start from.
        mvau_wwidth_max: bits of a weight stream, up to which FINN widens a matrix unit.
    """
    return {
        "output_dir": "output",
        **build_target(board),
        "synth_clk_period_ns": clock_ns,
        "target_fps": target_fps,
        "mvau_wwidth_max": mvau_wwidth_max,
        "generate_outputs": list(PART_OUTPUTS if board.is_part else OUTPUTS),
        "steps": list(BUILD_STEPS),
        "verify_steps": list(VERIFIED),
        "verify_input_npy": "input.npy",
        "verify_expected_output_npy": "expected_output.npy",
        "enable_build_pdb_debug": False,
        **({"folding_config_file": folding} if folding else {}),
    }


def configurations(
    board: Board,
    target_fps: int,
    clock_ns: float,
    *,
    folding: str | None = None,
    official_folding: str | None = None,
    mvau_wwidth_max: int = MVAU_WWIDTH_MAX,
) -> dict[str, str]:
    """The texts of both configurations by file name; each compiler has a folding of its own."""
    plus = build_config(board, target_fps, clock_ns, folding, mvau_wwidth_max)
    official = build_config(board, target_fps, clock_ns, official_folding, mvau_wwidth_max)
    del official["steps"]  # build.py passes them as functions
    official["fpga_part"] = board.part  # serves estimates for a board that this FINN doesn't know
    return {
        OFFICIAL_CONFIG: json.dumps(official, indent=2) + "\n",
        FINN_PLUS_CONFIG: yaml.safe_dump(plus, sort_keys=False),
    }


def write_build_files(
    folder: Path, board: Board, target_fps: int, clock_ns: float, *, mvau_wwidth_max: int = MVAU_WWIDTH_MAX
) -> None:
    """Write what FINN and FINN+ read beside the model."""
    for name, text in configurations(board, target_fps, clock_ns, mvau_wwidth_max=mvau_wwidth_max).items():
        (folder / name).write_text(text)
    shutil.copyfile(SHIPPED_FROM / BUILD_SCRIPT, folder / BUILD_SCRIPT)
    for name in SHIPPED:
        shutil.copyfile(SHIPPED_FROM / name, folder / name)
