"""Builds this folder with official FINN or FINN+: `python build.py`; with `--estimates` only up to FINN's estimates.

README.md beside it says where to run it. Exit status 0 where the whole network became one dataflow partition, FINN's
own executions of it gave the expected classes, and all that was asked for was built; else 1, with one line that says
what is missing or where the reason is.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

sys.dont_write_bytecode = True  # byte code beside custom_steps.py would be a file that the manifest does not name
OUTPUT = Path("output")
HARDWARE = ("StreamingDataflowPartition", "Transpose")  # the host feeds channels last, so that is the driver's


def is_finn_plus() -> bool:
    """Whether the FINN of this interpreter is FINN+, which has a configuration of its own."""
    try:
        metadata.version("finn-plus")
    except metadata.PackageNotFoundError:
        return False
    return True


def missing_tools() -> str:
    """Name the tools of a whole build that cannot be started here; empty where all can."""
    found = {name: shutil.which(name) for name in ("vivado", "vitis_hls", "vitis-run")}
    missing = [] if found["vivado"] else ["vivado"]
    if not found["vitis_hls"] and not found["vitis-run"]:
        missing.append("vitis_hls (vitis-run in newer versions)")
    return " and ".join(missing)


def stand_in_for_simulator() -> None:
    """Let FINN+ be imported without Vivado, against which it builds a simulator then; estimates never start that."""
    import finn.xsi

    os.environ.setdefault("XILINX_VIVADO", "none")
    for name in getattr(finn.xsi, "_LAZY_NAMES", ()):
        setattr(finn.xsi, name, type(name, (), {}))
    finn.xsi.ensure_available = lambda: True


def read_configuration(estimates: bool) -> Any:
    """Read the configuration of the FINN that is here, with this folder's steps as functions.

    Official FINN takes steps that are not its own as functions only, and its own have other names than FINN+'s.
    """
    from custom_steps import BUILD_STEPS, ESTIMATE_STEPS  # type: ignore[import-not-found]  # it lies beside this file
    from finn.builder.build_dataflow_config import DataflowBuildConfig, DataflowOutputType

    if is_finn_plus():
        config = DataflowBuildConfig.from_yaml(Path("build_config.yaml").read_text())
    else:
        config = DataflowBuildConfig.from_json(Path("official_build_config.json").read_text())
    config.steps = list(ESTIMATE_STEPS if estimates else BUILD_STEPS)
    if estimates:
        config.generate_outputs = [DataflowOutputType.ESTIMATE_REPORTS]
    return config


def problem() -> str:
    """Say what is wrong with a build that ended well: FINN itself goes on after both; empty where nothing is."""
    from qonnx.core.modelwrapper import ModelWrapper

    parent = ModelWrapper(str(OUTPUT / "intermediate_models" / "dataflow_parent.onnx"))
    software = [node.name for node in parent.graph.node if node.op_type not in HARDWARE]
    if software:
        return f"FINN leaves {len(software)} layer(s) in software: {', '.join(software)}"
    failed = sorted(path.stem.rpartition("_")[0] for path in (OUTPUT / "verification_output").glob("*_FAIL.npy"))
    rounding = [name for name in failed if passes_exactly(name.rpartition("_")[2])]
    if rounding:
        print(
            f"build.py: {', '.join(rounding)} FAIL by rounding: a value was closer to a quantizer's boundary than "
            "float32 is exact; the graph of integers behind it gives the expected class"
        )
    wrong = [name for name in failed if name not in rounding]
    return f"FINN's execution of the graph gives other classes: {', '.join(wrong)}" if wrong else ""


def passes_exactly(image: str) -> bool:
    """Whether the first graph that is integers alone gives an image, by its number, the expected class."""
    return (OUTPUT / "verification_output" / f"verify_streamlined_python_{image}_SUCCESS.npy").exists()


def build(estimates: bool) -> str:
    """Build; return one line that says what is wrong, empty where nothing is."""
    os.chdir(Path(__file__).resolve().parent)
    missing = missing_tools()
    try:
        if missing and is_finn_plus():
            stand_in_for_simulator()
        from finn.builder.build_dataflow import build_dataflow_cfg

        config = read_configuration(estimates or bool(missing))
    except (ImportError, KeyError) as error:  # KeyError: an environment variable that FINN reads
        return f"there is no FINN to be started here ({type(error).__name__}: {error}); README.md says how to run this"
    shutil.rmtree(OUTPUT / "verification_output", ignore_errors=True)  # of an earlier build
    if build_dataflow_cfg("model.onnx", config) != 0:
        return f"FINN failed; the reason is above and in {OUTPUT / 'build_dataflow.log'}"
    if found := problem():
        return found
    if missing and not estimates:
        return (
            f"the estimates are in {OUTPUT / 'report'}, but the rest of the build needs {missing}, which is "
            "not here: source settings64.sh of Vivado and Vitis HLS (--estimates asks for the estimates alone)"
        )
    return ""


def main() -> None:
    """Read the flag, build, and end with the status."""
    parser = argparse.ArgumentParser(description="Build this folder with the FINN of this interpreter.")
    parser.add_argument("--estimates", action="store_true", help="stop at FINN's estimates; needs no Vivado")
    found = build(parser.parse_args().estimates)
    sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__  # FINN+ leaves its log in their place
    raise SystemExit(f"build.py: {found}" if found else 0)


if __name__ == "__main__":
    main()
