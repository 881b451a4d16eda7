"""The paper's tables run by run: stopped and continued, nothing twice, scales apart, what is missing said in a line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import qtrain.experiments.paper.reproduce as module
from qtrain.errors import UserError
from qtrain.experiments.paper.accuracies import BASELINE, ROWS, PaperRow
from qtrain.experiments.paper.cells import PaperCell, Scale, append_result, chosen_rows, plan_cells, read_results
from qtrain.experiments.paper.reproduce import deadline, reproduce
from qtrain.experiments.paper.times import reproduce_times
from qtrain.recipe import shipped_recipes
from qtrain.records.runs import RECORDS
from qtrain.report.paper.tables import curves_figure, reproduce_markdown
from qtrain.training.context import RunContext

TINY: dict[str, Any] = {"width": 0.125, "batch_size": 10, "train_size": 40, "validation_size": 20, "optimizer": "adam"}
DIGITS = [
    PaperRow("table3", "Tiny", "CNV_1W1A", "digits", role, 80.0, 2, TINY | {"lr": 0.02}) for role in ("aslr", BASELINE)
]


class After:
    """True from the nth question on."""

    def __init__(self, questions: int):
        self.left = questions

    def __call__(self) -> bool:
        self.left -= 1
        return self.left < 0


def cells(out: Path, **options: Any) -> list[PaperCell]:
    return plan_cells(DIGITS, out, **{"seeds": 1, **options})


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Return the results of both cells, run in one go."""
    folder = tmp_path_factory.mktemp("undisturbed")
    assert reproduce(cells(folder / "runs"), folder / "results.jsonl", folder / "runs") == 0
    return read_results(folder / "results.jsonl")


def numbers(result: dict[str, Any]) -> dict[str, Any]:
    """Everything that does not depend on the time of day."""
    return {name: value for name, value in result.items() if name not in ("date", "seconds", "machine")}


def test_a_run_that_the_time_limit_stops_goes_on_to_the_same_result(
    undisturbed: list[dict[str, Any]], tmp_path: Path
) -> None:
    planned, results, said = cells(tmp_path / "runs"), tmp_path / "results.jsonl", []
    context = RunContext(say=said.append, stop=After(6))  # in the second epoch of the first run
    left = reproduce(planned, results, tmp_path / "runs", context)
    assert left == 2
    assert not results.exists()
    assert "stopped in epoch 2" in said[-1]
    nothing = RunContext(stop=After(0))  # no time at all
    assert reproduce(planned, results, tmp_path / "runs", nothing) == 2
    assert reproduce(planned, results, tmp_path / "runs") == 0
    assert [numbers(r) for r in read_results(results)] == [numbers(r) for r in undisturbed]


def test_what_is_recorded_is_not_run_again_even_without_its_folder(
    undisturbed: list[dict[str, Any]], tmp_path: Path
) -> None:
    results = tmp_path / "results.jsonl"
    for line in undisturbed:
        append_result(results, line)
    content = results.read_bytes()
    assert reproduce(cells(tmp_path / "runs"), results, tmp_path / "runs", RunContext(stop=After(0))) == 0
    assert results.read_bytes() == content
    assert not (tmp_path / "runs").exists()
    again = cells(tmp_path / "runs", seeds=2)  # the second seed is another run
    assert reproduce(again, results, tmp_path / "runs", RunContext(stop=After(0))) == 2


def test_a_finished_folder_without_its_line_is_read_and_not_trained(tmp_path: Path) -> None:
    planned = cells(tmp_path / "runs")[:1]
    reproduce(planned, tmp_path / "first.jsonl", tmp_path)
    records = (planned[0].folder / RECORDS).read_bytes()
    reproduce(planned, tmp_path / "second.jsonl", tmp_path)
    assert (planned[0].folder / RECORDS).read_bytes() == records
    one, two = read_results(tmp_path / "first.jsonl"), read_results(tmp_path / "second.jsonl")
    assert [numbers(r) for r in one] == [numbers(r) for r in two]


def test_half_a_line_that_a_kill_left_is_replaced(undisturbed: list[dict[str, Any]], tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    append_result(path, undisturbed[0])
    with path.open("a") as file:
        file.write('{"table": "tab')
    assert read_results(path) == undisturbed[:1]
    append_result(path, undisturbed[1])
    assert read_results(path) == undisturbed
    path.write_text("no json\n")
    with pytest.raises(UserError, match="damaged"):
        read_results(path)


def test_scaled_and_full_runs_never_share_a_folder_a_result_or_a_table(
    undisturbed: list[dict[str, Any]], tmp_path: Path
) -> None:
    small = Scale(0.5, train_size=20)
    scaled = cells(tmp_path, scale=small)
    assert not {c.folder for c in scaled} & {c.folder for c in cells(tmp_path)}
    assert [(c.recipe.epochs, c.recipe.train_size) for c in scaled] == [(1, 20)] * 2
    results = tmp_path / "results.jsonl"
    for line in undisturbed:
        append_result(results, line)
    # Full results do not stand for scaled ones.
    assert reproduce(scaled, results, tmp_path / "runs", RunContext(stop=After(0))) == 2
    lines = [r | {"scale": small.to_dict(), "epochs": 1, "test_accuracy": 11.11} for r in undisturbed]
    page = reproduce_markdown([*undisturbed, *lines])
    full, _, rest = page.partition("scaled down (epochs x 0.5, 20 training images)")
    assert "11.11" in rest
    assert "11.11" not in full
    assert f"{undisturbed[0]['test_accuracy']:.2f}" in full
    assert f"{undisturbed[0]['test_accuracy']:.2f}" not in rest


def test_the_page_has_ours_the_paper_s_and_both_differences(undisturbed: list[dict[str, Any]]) -> None:
    aslr, baseline = undisturbed
    seed1 = [r | {"seed": 1, "test_accuracy": r["test_accuracy"] + 2} for r in undisturbed]
    page = reproduce_markdown([*undisturbed, *seed1])
    row = next(line for line in page.splitlines() if "| multistep |" in line)
    mean, minus = baseline["test_accuracy"] + 1, aslr["test_accuracy"] - baseline["test_accuracy"]
    assert f"| {mean:.2f} ± 1.41 | 80.0 | {mean - 80:+.2f} | {minus:+.2f} |" in row
    assert row.endswith("| 2 | 2 | holdout |")
    failed = {k: v for k, v in aslr.items() if k not in ("test_accuracy", "curve")} | {"failed": "nan", "seed": 0}
    assert "| diverged | 80.0 |" in reproduce_markdown([failed])


def test_every_seed_0_comes_before_any_seed_1_and_pairs_stay_together(tmp_path: Path) -> None:
    planned = plan_cells(ROWS, tmp_path, seeds=2)
    assert [c.recipe.seed for c in planned] == [0] * len(ROWS) + [1] * len(ROWS)
    table3 = [c for c in planned if c.row.table == "table3" and c.recipe.seed == 0]
    for ours, theirs in zip(table3[::2], table3[1::2], strict=True):
        assert ours.recipe.scheduler == "aslr"
        assert ours.recipe.replace(scheduler=theirs.recipe.scheduler) == theirs.recipe  # nothing but the schedule
    assert len({c.folder for c in planned}) == len(planned)


def test_every_row_of_tables_3_and_4_has_a_shipped_recipe_of_its_own() -> None:
    for row in chosen_rows("table3") + chosen_rows("table4"):
        family = row.network.rsplit("_", 1)[0].lower()
        assert (family, row.data) in shipped_recipes(), row.label
        assert row.recipe().epochs == row.epochs


def test_imagenet_is_skipped_in_one_line_where_there_is_no_tree(
    cli: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("QTRAIN_DATA", raising=False)
    paths = ("--out", tmp_path / "runs", "--results", tmp_path / "r.jsonl", "--page", tmp_path / "docs/page.md")
    found = cli("reproduce", "table4", *paths)
    assert found.status == 0, found.err
    lines = [line for line in found.out.splitlines() if line.startswith("skipped")]
    assert len(lines) == 1
    assert "ResNet50" in lines[0]
    assert "--data-root" in lines[0]
    page = (tmp_path / "docs/page.md").read_text()
    assert "| ResNet10 | imagenet | 512 | aslr |  | 66.0 |" in page  # planned, empty
    listed = cli("reproduce", "--list", "--seeds", 1, *paths).out.splitlines()
    assert len(listed) == len(ROWS) + 1
    assert sum(line.startswith("skipped") for line in listed) == 6
    assert not (tmp_path / "runs").exists()


def test_imagenet_s_cells_train_on_a_tree(cli: Callable[..., Any], tmp_path: Path) -> None:
    for part, count in (("train", 8), ("val", 3)):
        for shade, name in enumerate(("cat", "dog")):
            folder = tmp_path / "tree" / part / name
            folder.mkdir(parents=True)
            for i in range(count):
                Image.new("RGB", (40, 30), (120 * shade, 10 * i, 50)).save(folder / f"{i}.jpg")
    command = ("reproduce", "table4", "--networks", "RESNET10_FLOAT", "--epochs-scale", 0.008, "--width", 0.25)
    command += ("--train-size", 8, "--seeds", 1, "--out", tmp_path / "runs", "--results", tmp_path / "r.jsonl")
    found = cli(*command, "--page", tmp_path / "page.md", "--data-root", tmp_path / "tree")
    assert found.status == 0, found.err
    assert [(r["data"], r["scheduler"], r["epochs"]) for r in read_results(tmp_path / "r.jsonl")] == [
        ("imagenet", "aslr", 1),
        ("imagenet", "cosine", 1),
    ]


def test_the_command_runs_until_the_time_is_up_and_goes_on(
    cli: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "chosen_rows", lambda *_: DIGITS)  # the paper's data are large
    command = ("reproduce", "table3", "--seeds", 1, "--epochs-scale", 0.5, "--out", tmp_path / "runs")
    command += ("--results", tmp_path / "r.jsonl", "--page", tmp_path / "page.md")
    first = cli(*command, "--max-minutes", 0)
    assert first.status == 0, first.err
    assert "2 runs left" in first.out
    assert "missing" in cli(*command, "--list").out
    second = cli(*command)
    assert second.status == 0, second.err
    assert "nothing is left" in second.out
    assert cli(*command, "--list").out.count("done") == 2
    page = (tmp_path / "page.md").read_text()
    assert "scaled down (epochs x 0.5)" in page
    assert "| Tiny | digits | 10 | multistep |" in page
    figure = cli("reproduce", "figure5", "--results", tmp_path / "r.jsonl", "--page", tmp_path / "page.md")
    assert figure.status == 0, figure.err
    assert (tmp_path / "reproduce_figure5.png").read_bytes()[:4] == b"\x89PNG"


def test_figures_5_and_6_are_the_recorded_curves(undisturbed: list[dict[str, Any]]) -> None:
    for name, value in (("figure5", "validation_accuracy"), ("figure6", "lr")):
        figure = curves_figure(undisturbed, name)
        assert figure is not None
        drawn = [list(line.get_ydata()) for line in figure.axes[0].lines]
        assert drawn == [result["curve"][value] for result in undisturbed]
    assert curves_figure([], "figure5") is None


def test_table_2_is_measured_once_in_one_process(tmp_path: Path) -> None:
    row = PaperRow("table1", "Tiny", "CNV_2W2A", "digits", "aslr", 80.0, 1, TINY | {"lr": 0.02})
    results, options = tmp_path / "r.jsonl", {"row": row, "rounds": 2, "steps": 1}
    # Stopped before a round is whole.
    assert not reproduce_times(results, RunContext(device="cpu", stop=After(3)), **options)
    assert not results.exists()
    assert reproduce_times(results, RunContext(device="cpu"), **options)
    assert reproduce_times(results, RunContext(stop=After(0)), **options)
    (line,) = read_results(results)
    assert line["rounds"] == 2
    assert set(line["schedulers"]) == {"aslr", "l4mom", "armijo"}
    assert line["schedulers"]["aslr"]["ratio"] == {"median": 1, "min": 1, "max": 1}
    for numbers_of in line["schedulers"].values():
        step = numbers_of["step_seconds"]
        assert 0 < step["min"] <= step["median"] <= step["max"]
    assert line["schedulers"]["armijo"]["counts"]["forward_passes_extra"] >= 3  # a step tries at least once
    assert "| armijo |" in reproduce_markdown([line])
    assert "1.51 to 1.52" in reproduce_markdown([line])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("table9",), "table9"),
        (("table3", "--epochs-scale", "0"), "epochs_scale must be above 0"),
        (("table3", "--epochs-scale", "1.5"), "epochs_scale must be above 0"),
        (("table3", "--seeds", "0"), "seeds must be 1 or more"),
        (("table3", "--max-minutes", "-1"), "max_minutes must be 0 or more"),
        (("table3", "--max-minutes", "soon"), "must be a number"),
        (("table3", "--networks", "CNV_9W9A"), "CNV_9W9A"),
        (("table3", "--width", "0"), "width must be above 0"),
        (("all", "--protocol", "mine"), "mine"),
    ],
)
def test_wrong_input_is_one_line_and_leaves_nothing(
    cli: Callable[..., Any], tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    paths = ("--out", tmp_path / "o", "--results", tmp_path / "r.jsonl", "--page", tmp_path / "p.md")
    found = cli("reproduce", *words, *paths)
    assert found.status == 2
    assert message in found.err
    assert len(found.err.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_curve_without_runs_says_so(cli: Callable[..., Any], tmp_path: Path) -> None:
    found = cli("reproduce", "figure6", "--results", tmp_path / "none.jsonl", "--page", tmp_path / "p.md")
    assert found.status == 2
    assert "there are none yet" in found.err


def test_the_deadline_is_minutes_after_the_start() -> None:
    now = [100.0]
    late = deadline(2, lambda: now[0])
    now[0] = 219.9
    assert not late()
    now[0] = 220.0
    assert late()
    assert not deadline(None)()
