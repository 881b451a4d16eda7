"""Render results/README.md and the README's numbers from the recorded runs: `make results`. None of them is typed."""

from benchmarks import campaign
from benchmarks.records import RESULTS
from docs_tools import fit_tables
from docs_tools.campaign import page as campaign_page
from docs_tools.comparison_tables import comparisons, grids, tuning
from docs_tools.first_look import five_minutes, one_command
from docs_tools.proof_tables import cifar_to_finn, second_opinions
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
    found = campaign.finished()
    fill_readme("campaign", campaign_page.readme(found))
    fill_readme("one-command", one_command())
    fill_readme("five-minutes", five_minutes())
    sections = {
        "The campaign: all of CIFAR-10": campaign_page.written(found),
        "One learning rate at every bit width, on digits": no_retuning(),
        "From CIFAR-10 to FINN": cifar_to_finn(),
        "ASLR against other schedules, in the order of running": comparisons(),
        "Schedulers across bit widths": grids(),
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
