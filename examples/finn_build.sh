#!/usr/bin/env bash
# Build a FINN folder to a bitstream: finn_build.sh [--print] [--docker | --plus] [--estimate] FOLDER
#   --plus      with FINN+ (the command finn of finn-plus, which make finn installs), Vivado's settings64.sh sourced.
#   --estimate  stop after the estimates. Where there is neither FINN, qtrain estimate FOLDER gives the same.
#   --docker    with the official FINN: FINN_ROOT names its checkout, FINN_XILINX_PATH and FINN_XILINX_VERSION Vivado.
#   --print     only print the command.
# Without --docker or --plus: FINN+ where the command finn is there, else Docker.
set -euo pipefail

stop() { echo "finn_build.sh: $1" >&2; exit 2; }

how="" print=no folder="" estimate=no
for word in "$@"; do
    case "$word" in
        --docker | --plus) how="${word#--}" ;;
        --print) print=yes ;;
        --estimate) estimate=yes ;;
        -h | --help) sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 0 ;;
        -*) stop "there is no option $word; there are --docker, --plus, --estimate and --print" ;;
        *) [ -z "$folder" ] || stop "one folder, but got $folder and $word"; folder="$word" ;;
    esac
done
[ -n "$folder" ] || stop "name a FINN folder, as qtrain export makes them"
for file in model.onnx build_config.yaml build.py; do
    [ -f "$folder/$file" ] || stop "$folder has no $file; name a folder that qtrain export made"
done
folder="$(cd "$folder" && pwd)"
[ -n "$how" ] || { if command -v finn >/dev/null; then how=plus; else how=docker; fi; }

if [ "$how" = plus ]; then
    command=(finn build build_config.yaml model.onnx)
    [ "$estimate" = no ] || command+=(--stop step_generate_estimate_reports --skip-dep-update --batch)
else
    # What run-docker.sh build_custom does, without its pdb, whose status is 0 for a failed build too.
    mount="${FINN_DOCKER_EXTRA:-} -v $folder:$folder -w $folder"
    command=(env "FINN_DOCKER_EXTRA=$mount" "${FINN_ROOT:-FINN_ROOT}/run-docker.sh" python build.py)
    [ "$estimate" = no ] || command+=(--estimates)
fi
if [ "$print" = yes ]; then
    printf '%q ' "${command[@]}"; echo
    exit 0
fi
if [ "$how" = plus ]; then
    command -v finn >/dev/null || stop "there is no command finn here; make finn installs it, source .venv/bin/activate finds it"
    [ -n "${XILINX_VIVADO:-}" ] || stop "finn build needs XILINX_VIVADO, estimates too: source Vivado's settings64.sh; without Vivado: qtrain estimate $folder"
else
    command -v docker >/dev/null || stop "there is no docker here, which the official FINN runs in; install it, or use --plus"
    docker info >/dev/null 2>&1 || stop "docker is installed, but its daemon does not answer (docker info says why); start it"
    [ -x "${FINN_ROOT:-}/run-docker.sh" ] || stop "FINN_ROOT must name a checkout of FINN (git clone https://github.com/Xilinx/finn)"
    [ -d "${FINN_XILINX_PATH:-}" ] || stop "FINN_XILINX_PATH must name the folder of Vivado, for instance /opt/xilinx"
    [ -n "${FINN_XILINX_VERSION:-}" ] || stop "FINN_XILINX_VERSION must be set, for instance 2022.2"
fi
cd "$folder"
exec "${command[@]}"
