"""The sections of results/README.md that are made of results/benchmarks.jsonl."""

import statistics
from typing import Any

from benchmarks.records import NOT_YET, lines, spread, table

ONE = {"median": 1.0, "min": 1.0, "max": 1.0}
CEILING = "products alone"


def speed() -> str:
    """The last record of each training benchmark in which every arm is a process."""
    found = [r for r in lines("benchmarks.jsonl") if r["benchmark"] == "train_step" and "device" in r]
    last = {(r["device"], r["network"], r["batch_size"]): r for r in found}
    rows = [
        [device, network, str(batch), name, spread(rate, 0), spread(r["ratio_to_bnn_pynq"].get(name, ONE))]
        for (device, network, batch), r in last.items()
        for name, rate in r["images_per_s"].items()
    ]
    head = ["device", "network", "batch", "arm", "images/s of CPU (GPU: real) time", "ratio to bnn_pynq"]
    return f"{table(head, rows)}\n\n{_bounds(last)}"


def quantizing() -> str:
    """Steps of Brevitas' own forward pass, this project's and the float twin: the last record of each network."""
    last = {(r["network"], r["width"]): r for r in lines("benchmarks.jsonl") if r["benchmark"] == "quantizing_cost"}
    if not last:
        return NOT_YET
    rows = [
        [
            *(f"{network}, width {width:g}", str(r["batch_size"]), str(r["threads"])),
            *(spread(r["ms_a_step"][arm], 1) for arm in r["ms_a_step"]),
            *(spread(ratio) for ratio in r["times_brevitas"].values()),
            *(spread(r["share_of_the_float_twins_rate"]), "equal" if r["first_loss_equal"] else "DIFFERS"),
        ]
        for (network, width), r in last.items()
    ]
    arms = ["Brevitas, ms a step", "qtrain, ms", "float twin, ms"]
    ratios = ["qtrain / Brevitas", "float twin / Brevitas", "qtrain / float twin", "first loss, to the bit"]
    return table(["network", "batch", "threads", *arms, *ratios], rows)


def _bounds(last: dict[tuple[str, str, int], dict[str, Any]]) -> str:
    """How near the trainer comes to its products, which no trainer in the same arithmetic can leave out."""
    found = []
    for (device, network, batch), r in last.items():
        rates = {name: rate["median"] for name, rate in r["images_per_s"].items()}
        if CEILING in rates:
            ours = max((name for name in rates if name.startswith("qtrain")), key=rates.__getitem__)
            found.append(
                f"- {device}, {network}, batch {batch}: {ours} runs at {rates[ours] / rates[CEILING]:.0%} of the rate "
                "of the float twin's convolutions and matrix products alone, forward and backward, which are "
                f"{rates[CEILING] / rates['bnn_pynq']:.2f} times as fast as bnn_pynq's whole step."
            )
    return "\n".join(found)


def proof_times() -> str:
    """The last record of each network's proof on the whole CIFAR-10 test set."""
    last = {r["network"]: r for r in lines("benchmarks.jsonl") if r["benchmark"] == "export_proof"}
    if not last:
        return NOT_YET
    rows = []
    for network, r in last.items():
        parts = [f"{r[k]['seconds']:.0f} s, {r[k]['memory_gb']:.1f} GB" for k in ("verify", "export")]
        equal = f"{r['verify']['equal']:,} of {r['verify']['images']:,}"
        rows.append([network, equal, *parts, spread(r["qonnx"]["ratio"], 0)])
    head = ["network", "equal images", "`qtrain verify`", "export with proof", "our executor / qonnx's, CPU time"]
    return f"Full width, the whole CIFAR-10 test set, {r['threads']} threads.\n\n{table(head, rows)}"


def draws() -> str:
    """The last record of the draw's cost."""
    records = [r for r in lines("benchmarks.jsonl") if r["benchmark"] == "aslr_overhead"]
    share = records[-1]["cpu_time"]["draw in the step, % of a step"]
    return f"ASLR's draws cost {spread(share, 3)} % of a CNV_1W1A step (batch {records[-1]['batch_size']}, one thread)."


def same_accuracy() -> str:
    """Plain, exact and fast training: the last record of each network and data set."""
    records = [r for r in lines("benchmarks.jsonl") if r["benchmark"] == "same_accuracy"]
    last = {(r["network"], r["data"], r["width"], r["device"]): r for r in records}
    if not last:
        return NOT_YET
    rows = []
    for r in last.values():
        length = f"{r['epochs']} epochs of {r['train_size'] or 'all'} images"
        for path, found in r["test_accuracy"].items():
            name = f"{path} (bfloat16 emulated)" if path == "fast" and r["emulated"] else path
            accuracy = f"{statistics.mean(found):.2f} ± {statistics.stdev(found):.2f}"
            away = r["minus_plain"].get(path)
            difference = f"{away['mean']:+.2f} [{away['low']:+.2f}..{away['high']:+.2f}]" if away else ""
            equal = "all equal" if r["exports_equal"] else "DIFFER"
            rows.append([r["device"], r["network"], r["data"], length, name, accuracy, difference, equal])
    head = ["device", "network", "data", "training", "path", "test accuracy, %", "minus plain, points", "exports"]
    intro = "Plain is Brevitas' own forward pass. Paired seeds; in brackets the 95 % interval of the mean difference."
    return f"{intro}\n\n{table(head, rows)}"


def many_runs() -> str:
    """Side by side against one after the other: the last record of each device and width."""
    records = [r for r in lines("benchmarks.jsonl") if r["benchmark"] == "many_runs"]
    last = {(r["device"], r["width"], r["precision"]): r for r in records}
    if not last:
        return NOT_YET
    rows = [
        [
            *(r["device"], f"{r['runs']} runs, width {r['width']:g}", jobs, spread(rate, 0)),
            *(spread(r["ratio"][jobs]), f"{r['resident_mib'][jobs]['median']:,.0f}"),
        ]
        for r in last.values()
        for jobs, rate in r["images_per_s"].items()
    ]
    return table(["device", "what", "jobs", "images/s together", "ratio to one after the other", "MiB"], rows)


def sweeps() -> str:
    """What a sweep costs beside its trainings, and a node of a Ray cluster that died in the middle."""
    overhead = [r for r in lines("benchmarks.jsonl") if r["benchmark"] == "sweep_overhead"]
    killed = [r for r in lines("benchmarks.jsonl") if r["benchmark"] == "ray_kill"]
    found = []
    for r in {r["network"]: r for r in overhead}.values():
        times, memory = r["times"], r.get("memory")
        found += [
            f"A sweep of {r['network']} at {r['bits']} bits against the bare trainings of its cells, wall time: "
            f"{spread(times['sweep / bare trainings'])}; without lint and the count of operations "
            f"{spread(times['without lint and count / bare'])}."
        ]
        if memory:
            found[-1] += (
                f" Resident memory over {r['cells']} tiny cells: {memory['first, MiB']} MiB after the first, "
                f"{memory['last, MiB']} after the last, {memory['a cell, KiB']} KiB a cell once caches are full."
            )
    if killed:
        r = killed[-1]
        found += [
            f"Ray: of {r['nodes']} nodes one was killed after {r['killed_after_s']:.0f} s. Each of {r['cells']} runs "
            f"came back once: {'yes' if r['each_once'] else 'NO'}; {r['retried_cells']} were begun again; {r['equal']} "
            "have the records and accuracies of runs that nothing disturbed."
        ]
    return "\n\n".join(found) or NOT_YET
