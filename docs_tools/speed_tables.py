"""The sections of results/README.md that are made of results/benchmarks.jsonl."""

import statistics
from typing import Any

from benchmarks.records import NOT_YET, lines, newest, of, spread, table

Record = dict[str, Any]
ONE = {"median": 1.0, "min": 1.0, "max": 1.0}
CEILING = "products alone"


def _records(benchmark: str) -> list[Record]:
    return of(benchmark, lines("benchmarks.jsonl"))


def speed() -> str:
    """Return the last record of each training benchmark in which every arm is a process."""
    found = [record for record in _records("train_step") if "device" in record]
    last = newest(found, "device", "network", "batch_size")
    rows = []
    for record in last:
        for arm, rate in record["images_per_s"].items():
            ratio = record["ratio_to_bnn_pynq"].get(arm, ONE)
            what = [record["device"], record["network"], str(record["batch_size"]), arm]
            rows.append([*what, spread(rate, 0), spread(ratio)])
    head = ["device", "network", "batch", "arm", "images/s of CPU (GPU: real) time", "ratio to bnn_pynq"]
    bounds = [_bound(record) for record in last if CEILING in record["images_per_s"]]
    return f"{table(head, rows)}\n\n" + "\n".join(bounds)


def _bound(record: Record) -> str:
    """Say how near the trainer comes to its products, which no trainer in the same arithmetic can leave out."""
    rates = {name: rate["median"] for name, rate in record["images_per_s"].items()}
    ours = max((name for name in rates if name.startswith("qtrain")), key=rates.__getitem__)
    return (
        f"- {record['device']}, {record['network']}, batch {record['batch_size']}: {ours} runs at "
        f"{rates[ours] / rates[CEILING]:.0%} of the rate of the float twin's convolutions and matrix products alone, "
        f"forward and backward, which are {rates[CEILING] / rates['bnn_pynq']:.2f} times as fast as bnn_pynq's whole "
        "step."
    )


def quantizing() -> str:
    """Return steps of Brevitas' own forward pass, this project's and the float twin: each network's last record."""
    rows = []
    for record in newest(_records("quantizing_cost"), "network", "width"):
        row = [f"{record['network']}, width {record['width']:g}", str(record["batch_size"]), str(record["threads"])]
        row += [spread(time, 1) for time in record["ms_a_step"].values()]
        row += [spread(ratio) for ratio in record["times_brevitas"].values()]
        row += [spread(record["share_of_the_float_twins_rate"])]
        rows.append([*row, "equal" if record["first_loss_equal"] else "DIFFERS"])
    head = ["network", "batch", "threads", "Brevitas, ms a step", "qtrain, ms", "float twin, ms"]
    head += ["qtrain / Brevitas", "float twin / Brevitas", "qtrain / float twin", "first loss, to the bit"]
    return table(head, rows) if rows else NOT_YET


def proof_times() -> str:
    """Return the last record of each network's proof on the whole CIFAR-10 test set."""
    last = newest(_records("export_proof"), "network")
    if not last:
        return NOT_YET
    rows = []
    for record in last:
        verified = record["verify"]
        equal = f"{verified['equal']:,} of {verified['images']:,}"
        times = [_time_and_memory(verified), _time_and_memory(record["export"])]
        rows.append([record["network"], equal, *times, spread(record["qonnx"]["ratio"], 0)])
    head = ["network", "equal images", "`qtrain verify`", "export with proof", "our executor / qonnx's, CPU time"]
    return f"Full width, the whole CIFAR-10 test set, {last[-1]['threads']} threads.\n\n{table(head, rows)}"


def _time_and_memory(found: Record) -> str:
    return f"{found['seconds']:.0f} s, {found['memory_gb']:.1f} GB"


def proof_speed() -> str:
    """Return the last record of each part of the proof, beside what it took before."""
    rows = []
    for record in newest(_records("proof_speed"), "row"):
        now = record["now"]
        ratio = spread(record["ratio"]["cpu_s"]) if "ratio" in record else ""
        theirs = now.get("qonnx")
        qonnx = f"{theirs['wall_s'] / theirs['images']:.2f} s an image" if theirs else ""
        images = f"{now['images']:,}" if "images" in now else ""
        times = [spread(now["wall_s"], 1), spread(now["cpu_s"], 1)]
        rows.append([record["row"], record["network"], images, *times, ratio, qonnx])
    head = ["part", "network", "images", "wall, s", "CPU, s", "before / now, CPU", "qonnx's executor"]
    return table(head, rows) if rows else NOT_YET


def draws() -> str:
    """Say what the draw costs, by the last record."""
    last = _records("aslr_overhead")[-1]
    share = last["cpu_time"]["draw in the step, % of a step"]
    return f"ASLR's draws cost {spread(share, 3)} % of a CNV_1W1A step (batch {last['batch_size']}, one thread)."


def same_accuracy() -> str:
    """Return plain, exact and fast training: the last record of each network and data set."""
    rows = []
    for record in newest(_records("same_accuracy"), "network", "data", "width", "device"):
        length = f"{record['epochs']} epochs of {record['train_size'] or 'all'} images"
        equal = "all equal" if record["exports_equal"] else "DIFFER"
        for path, found in record["test_accuracy"].items():
            name = f"{path} (bfloat16 emulated)" if path == "fast" and record["emulated"] else path
            accuracy = f"{statistics.mean(found):.2f} ± {statistics.stdev(found):.2f}"
            away = record["minus_plain"].get(path)
            difference = f"{away['mean']:+.2f} [{away['low']:+.2f}..{away['high']:+.2f}]" if away else ""
            what = [record["device"], record["network"], record["data"], length]
            rows.append([*what, name, accuracy, difference, equal])
    if not rows:
        return NOT_YET
    head = ["device", "network", "data", "training", "path", "test accuracy, %", "minus plain, points", "exports"]
    intro = "Plain is Brevitas' own forward pass. Paired seeds; in brackets the 95 % interval of the mean difference."
    return f"{intro}\n\n{table(head, rows)}"


def many_runs() -> str:
    """Return runs side by side against one after the other: the last record of each device and width."""
    rows = []
    for record in newest(_records("many_runs"), "device", "width", "precision"):
        what = f"{record['runs']} runs, width {record['width']:g}"
        for jobs, rate in record["images_per_s"].items():
            memory = f"{record['resident_mib'][jobs]['median']:,.0f}"
            rows.append([record["device"], what, jobs, spread(rate, 0), spread(record["ratio"][jobs]), memory])
    head = ["device", "what", "jobs", "images/s together", "ratio to one after the other", "MiB"]
    return table(head, rows) if rows else NOT_YET


def sweeps() -> str:
    """Say what a sweep costs beside its trainings, and how one went on when a node of its Ray cluster died."""
    parts = [_overhead(record) for record in newest(_records("sweep_overhead"), "network")]
    parts += [_node_killed(record) for record in _records("ray_kill")[-1:]]
    return "\n\n".join(parts) or NOT_YET


def _overhead(record: Record) -> str:
    """Say what a sweep's cells cost beside bare trainings."""
    times = record["times"]
    text = (
        f"A sweep of {record['network']} at {record['bits']} bits against the bare trainings of its cells, wall time: "
        f"{spread(times['sweep / bare trainings'])}; without lint and the count of operations "
        f"{spread(times['without lint and count / bare'])}."
    )
    memory = record.get("memory")
    if memory:
        text += (
            f" Resident memory over {record['cells']} tiny cells: {memory['first, MiB']} MiB after the first, "
            f"{memory['last, MiB']} after the last, {memory['a cell, KiB']} KiB a cell once caches are full."
        )
    return text


def _node_killed(record: Record) -> str:
    """Say what became of a Ray cluster's runs when one of its nodes was killed."""
    return (
        f"Ray: of {record['nodes']} nodes one was killed after {record['killed_after_s']:.0f} s. Each of "
        f"{record['cells']} runs came back once: {'yes' if record['each_once'] else 'NO'}; {record['retried_cells']} "
        f"were begun again; {record['equal']} have the records and accuracies of runs that nothing disturbed."
    )
