"""Render results/README.md and the README's numbers from the recorded runs: `make results`. None of them is typed."""

import statistics
from typing import Any

from benchmarks import campaign
from benchmarks.records import RESULTS, lines, table
from docs_tools import fit_tables
from docs_tools.campaign import page as campaign_page
from docs_tools.first_look import five_minutes, one_command
from docs_tools.speed_tables import (
    draws,
    many_runs,
    proof_speed,
    proof_times,
    quantizing,
    same_accuracy,
    speed,
    sweeps,
)
from docs_tools.style_tables import styles
from docs_tools.target_tables import targets
from docs_tools.torture_tables import torture
from docs_tools.waiting_tables import waiting
from qtrain.report.comparison.no_retuning import PLOT, no_retuning_seen, read_no_retuning, write_no_retuning
from qtrain.report.statistics import paired_difference
from qtrain.schedulers.catalogue import row_of

CHOICES = """Read these with how they came about. Two rows compare ASLR with a baseline tuned for that length: 12
epochs at 0.1, where ASLR falls short, and 30 epochs at 0.05, where it is behind and three seeds leave
it undecided. The recipe's length was raised from 12 to 30 epochs after the first of them, and the rate
0.02 of the last one was picked with ASLR's test accuracies in view."""

GRIDS = """Test accuracy in percent, mean ± standard deviation over paired seeds; in brackets ASLR minus the row,
with the 95 % interval of the mean (Student's t). One recipe, one lr0 and no tuning for any bit width: rivals run at
their packages' defaults, the milestones are the recipe's. Small networks and short runs: they show how schedulers
compare under a short budget, not what CNV reaches."""


SAME = ("data", "width", "epochs", "batch_size", "train_size", "split_seed", "optimizer", "lr", "bits")


def cifar_to_finn() -> str:
    """Trained on real CIFAR-10, proven on its test set, built by the real FINN."""
    rows = []
    for r in lines("cifar_to_finn.jsonl"):
        recipe, proof, finn = r["recipe"], r["proof"], r["finn"]
        rows.append(
            [
                f"{recipe['network']} width {recipe['width']:g}{', ' + recipe['bits'] if recipe.get('bits') else ''}",
                f"{recipe['epochs']} epochs of {recipe['train_size'] or 'all'} images, {recipe['scheduler']} "
                f"{recipe['lr']:g}",
                f"{proof['accuracy_torch']:.2f} / {proof['accuracy_graph']:.2f}",
                f"{proof['equal']:,} of {proof['images']:,}",
                f"{proof['ties']}",
                f"{r['export_s']:.0f} / {r['verify_s']:.0f}",
                "accepted" if finn["accepted"] else finn["reason"],
                f"{finn['fps']:,.0f}",
                f"{finn['lut']:,}",
                f"{finn['bram_18k']}",
            ]
        )
    head = ["network", "training", "test accuracy, % (torch / graph)", "equal images", "ties", "export / verify, s"]
    head += [f"FINN ({lines('cifar_to_finn.jsonl')[-1]['board']}, estimates)", "frames/s", "LUT", "BRAM_18K"]
    return table(head, rows)


def comparisons() -> str:
    """Every comparison that was run, in that order."""
    rows = []
    for r in lines("comparisons.jsonl"):
        if "challenger" in r:  # one of a grid
            continue
        recipe, cells = r["recipe"], r["cells"]
        by_scheduler = {s: [c["test_accuracy"] for c in cells if c["scheduler"] == s] for s in r["schedulers"]}
        for name, values in by_scheduler.items():
            deviation = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
            gap = r["differences"].get(name)
            milestones = ", ".join(f"{m:g}" for m in recipe["milestones"])
            rows.append(
                [
                    f"{recipe['network']} width {recipe['width']:g}, {recipe['data']}, {recipe['epochs']} epochs",
                    f"{recipe['lr']:g}",
                    f"{name} ({milestones})" if row_of(name).reads_milestones else name,
                    f"{statistics.mean(values):.2f}{deviation}",
                    f"{statistics.mean(gap):+.2f} [{min(gap):+.2f}..{max(gap):+.2f}]" if gap else "",
                    str(len(values)),
                ]
            )
    return table(
        ["runs", "lr0 of all", "scheduler (milestones)", "test accuracy, %", "ASLR minus it, points", "seeds"], rows
    )


def grids() -> str:
    """Every comparison over bit widths: a table for each data set, width and length."""
    newest = {(r["recipe"]["network"], *setting(r)): r for r in lines("comparisons.jsonl") if "challenger" in r}
    parts = []
    for key in dict.fromkeys(map(setting, newest.values())):
        records = sorted((r for r in newest.values() if setting(r) == key), key=lambda r: r["recipe"]["network"])
        names = list(dict.fromkeys(s for r in records for s in r["schedulers"]))
        head = ["scheduler", *(r["recipe"]["network"] for r in records)]
        rows = [[name, *(grid_cell(r, name) for r in records)] for name in names]
        recipe, failed = records[0]["recipe"], [(r["recipe"]["network"], f) for r in records for f in r["failed"]]
        images = f"{recipe['train_size']:,}" if recipe["train_size"] else "all"
        if recipe.get("split_seed") is not None:
            images = f"the same {images} for all seeds as"
        parts.append(
            f"**{recipe['network'].split('_')[0]} width {recipe['width']:g} on {recipe['data']}**, {key[1]}: {images} "
            f"training images, {recipe['epochs']} epochs, {recipe['optimizer']}, lr0 {recipe['lr']:g} for all that "
            "take one."
        )
        parts.append(table(head, rows))
        parts += [option_line(records, name) for name in names if name.startswith("aslr_")]
        parts += [f"- {network}, {f['scheduler']} seed {f['seed']}: {f['reason']}" for network, f in failed]
    return "\n\n".join(parts) or "None recorded yet."


def setting(record: dict[str, Any]) -> tuple[Any, ...]:
    """What comparisons of one table have in common; the day too, since single runs differ from machine to machine."""
    recipe = record["recipe"]
    family = recipe["network"].split("_")[0]
    return (family, record["machine"]["date"][:10], *(recipe.get(k) for k in SAME))


def grid_cell(record: dict[str, Any], name: str) -> str:
    """Mean and deviation; for others than ASLR how far ASLR is ahead."""
    values = list(by_seed(record, name).values())
    if not values:
        return "diverged" if name in record["schedulers"] else ""
    text = f"{statistics.mean(values):.2f}" + (f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else "")
    ahead = gap(record, record["challenger"], name)
    return text if name == record["challenger"] or not ahead else f"{text} (ASLR {ahead})"


def option_line(records: list[dict[str, Any]], name: str) -> str:
    """How far an option of ASLR is ahead of the recipe's hand-tuned baseline, network by network."""
    baseline = records[0]["recipe"]["baseline"]
    found = [(r["recipe"]["network"], gap(r, name, baseline)) for r in records]
    return f"- {name} minus {baseline}: " + ", ".join(f"{network} {text}" for network, text in found if text)


def by_seed(record: dict[str, Any], name: str) -> dict[int, float]:
    """Test accuracies of a scheduler's finished runs."""
    return {c["seed"]: c["test_accuracy"] for c in record["cells"] if c["scheduler"] == name}


def gap(record: dict[str, Any], ours: str, theirs: str) -> str:
    """The difference of two schedulers in points, paired by seed, with its 95 % interval; nothing without a pair."""
    a, b = by_seed(record, ours), by_seed(record, theirs)
    if not (seeds := sorted(set(a) & set(b))):
        return ""
    found = paired_difference([a[s] for s in seeds], [b[s] for s in seeds])
    return f"{found.mean:+.1f}" + ("" if found.low is None else f" [{found.low:+.1f}..{found.high:+.1f}]")


def tuning() -> str:
    """What the baseline's tuning cost."""
    rows = []
    for r in lines("tuning.jsonl"):
        for point in r["points"]:
            mean = statistics.mean(point["validation_accuracy"])
            steps = ", ".join(f"{m:g}" for m in point["milestones"])
            epochs = str(r["recipe"]["epochs"])
            rows.append(
                [r["recipe"]["data"], epochs, f"{point['lr']:g}", steps, f"{mean:.2f}", f"{point['seconds']:.0f}"]
            )
    return table(["data", "epochs", "lr", "milestones (fractions)", "validation accuracy, %", "seconds"], rows)


def second_opinions() -> str:
    """The last answer of finn-base on each network."""
    rows = []
    for network, r in {r["network"]: r for r in lines("finn_base.jsonl")}.items():
        if reason := r.get("reason"):
            rows.append([network, f"{r['width']:g}", reason, "", "", ""])
            continue
        ties, flipped = len(r["ties"]), len(r["flipped"])
        counts = [f"{r['equal']} of {r['images']}", str(ties), f"{flipped} ({r['allowed']} allowed)"]
        rows.append([network, f"{r['width']:g}", *counts, f"{r['equal_logits']} of {r['images']}"])
    return table(["network", "width", "images with torch's class", "ties", "flipped", "equal logits"], rows)


def no_retuning() -> str:
    """Every recorded no-retuning experiment, its table and plot written beside its data."""
    folders = sorted(path for path in (RESULTS / "no_retuning").glob("*") if path.is_dir())
    parts = []
    for folder in folders:
        text = write_no_retuning(folder)
        seen = no_retuning_seen(read_no_retuning(folder))
        parts.append(f"{text}\n![{seen}](no_retuning/{folder.name}/{PLOT})")
    return "\n\n".join(parts)


def fill_readme(mark: str, text: str) -> None:
    """Put a text between two marks of the README."""
    path = RESULTS.parent / "README.md"
    before, start, rest = path.read_text().partition(f"<!-- {mark} -->")
    _, end, after = rest.partition(f"<!-- /{mark} -->")
    if not end:
        raise SystemExit(f"{path} lacks the marks <!-- {mark} --> and <!-- /{mark} -->")
    path.write_text(f"{before}{start}\n{text}\n{end}{after}")


def main() -> None:
    """Write the page."""
    one_rate = no_retuning()
    found = campaign.finished()
    fill_readme("campaign", campaign_page.readme(found))
    fill_readme("no-retuning", one_rate.replace("](no_retuning/", "](results/no_retuning/"))
    fill_readme("one-command", one_command())
    fill_readme("five-minutes", five_minutes())
    sections = {
        "The campaign: all of CIFAR-10": campaign_page.written(found),
        "One learning rate at every bit width, on digits": one_rate,
        "From CIFAR-10 to FINN": cifar_to_finn(),
        "ASLR against other schedules, in the order of running": f"{CHOICES}\n\n{comparisons()}",
        "Schedulers across bit widths": f"{GRIDS}\n\n{grids()}",
        "What tuning the baseline cost": tuning(),
        "Training speed on a CPU": f"{speed()}\n\n{draws()}",
        "What quantizers cost a training step": quantizing(),
        "The fast forward pass against Brevitas'": same_accuracy(),
        "Nobody waits: what was asked for, and what is": targets(),
        "What one waits for besides training": waiting(),
        "Several runs side by side": many_runs(),
        "Sweeps": sweeps(),
        "The best network that fits, beside a whole sweep": f"{fit_tables.fits()}\n\n{fit_tables.PICTURE}",
        "Memory styles and resource types": styles(),
        "Speed of the proof": f"{proof_times()}\n\n{proof_speed()}",
        "finn-base, a second executor": second_opinions(),
        "Killed, damaged, flipped": torture(),
    }
    fit_tables.draw_fits()
    body = "\n\n".join(f"## {title}\n\n{text}" for title, text in sections.items())
    intro = "Rendered by `make results` from the JSON lines beside this file; spreads are median [least..largest]."
    intro += " The paper's own tables: [docs/reproduce.md](../docs/reproduce.md)."
    (RESULTS / "README.md").write_text(f"# Recorded results\n\n{intro}\n\n{body}\n")


if __name__ == "__main__":
    main()
