"""The command that runs the paper's tables: ``reproduce``."""

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from qtrain.arguments import names_in
from qtrain.commands.comparing import check_jobs_alone


def reproduce_command(parser: ArgumentParser, argv: list[str], options: Namespace) -> int:
    """Run what is missing of the paper's tables."""
    from qtrain.experiments.paper_cells import read_results
    from qtrain.experiments.reproduce import list_cells, planned_rows, reproduce_tables
    from qtrain.report.paper import FIGURES, write_figures, write_page
    from qtrain.training import Terminal
    from qtrain.training.progress import tell

    check_jobs_alone(options.jobs)
    what, results, page = options.what, Path(options.results), Path(options.page)
    names = names_in(options.networks) if options.networks else []
    size = {name: options[name] for name in ("epochs_scale", "width", "train_size")}
    plan = {"networks": names, "seeds": options.seeds, "protocol": options.protocol, "out": Path(options.out), **size}
    if what not in FIGURES:
        if options.list:
            print("\n".join(list_cells(what, results, data_root=options.data_root, **plan)))
            return 0
        left = reproduce_tables(
            what,
            results,
            minutes=options.max_minutes,
            rounds=options.rounds,
            data_root=options.data_root,
            device=options.device,
            jobs=options.jobs,
            watch=Terminal(),
            say=tell,
            **plan,
        )
        planned = planned_rows(what, names, options.protocol)
        write_page(read_results(results), planned, page)
        print(f"{page}: " + (f"{left} runs left; the same command goes on" if left else "nothing is left to run"))
    figures = FIGURES if what == "all" else [what] if what in FIGURES else ()
    for path in write_figures(read_results(results), page.parent, figures):
        print(f"{path}: drawn")
    return 0
