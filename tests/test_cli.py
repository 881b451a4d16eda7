"""The command line: every mistake is one line that helps, the right exit status, and not a byte touched."""

import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from qtrain.data import DataSet
from qtrain.experiments.model import model_of
from qtrain.experiments.run import train_recipe
from qtrain.recipe import Recipe, dump_recipe
from qtrain.schedulers.catalogue import DEFAULT
from qtrain.training import Interrupted, train
from qtrain.training.context import RunContext
from tests.checks import check_refusal, tree

SMALL = ["--data=digits", "--width=0.125", "--train-size=60", "--validation-size=40", "--batch-size=20", "--epochs=1"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, tiny: Callable[..., Recipe], few_digits: DataSet) -> Path:
    """Return a folder with a finished run, a stopped one, and a finished one of another network."""
    place = tmp_path_factory.mktemp("runs")
    train_recipe(tiny(), place / "run")
    train_recipe(tiny(network="CNV_2W2A"), place / "other")
    with pytest.raises(Interrupted):
        train(model_of(tiny()), tiny(), place / "stopped", data=few_digits, context=RunContext(stop=lambda: True))
    return place


@pytest.fixture
def here(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a working folder with runs, a foreign folder, a file and an empty folder in it."""
    shutil.copytree(runs, tmp_path, dirs_exist_ok=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    (tmp_path / "file").write_text("text")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("QTRAIN_DATA", raising=False)
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # no network in tests, whatever the machine has
    return tmp_path


TRAIN = ["train", "CNV_1W1A", *SMALL]
COMPARE = ["compare", "CNV_1W1A", *SMALL, "--seeds", "1"]
BAD: list[tuple[str, list[str], list[str]]] = [
    ("no network", ["train"], ["name a network", "CNV_1W1A"]),
    ("unknown network", ["train", "FOO_1W1A"], ["unknown network 'FOO_1W1A'", "families are TFC, SFC, LFC, CNV"]),
    ("no network's name", ["train", "resnet"], ["'resnet' is not a network name", "for instance CNV_1W2A"]),
    ("0 weight bits", ["train", "CNV_0W1A"], ["weights of CNV_0W1A must have 1 to 8 bits, but got 0"]),
    ("9 weight bits", ["train", "cnv-w9a1"], ["weights of cnv-w9a1 must have 1 to 8 bits, but got 9"]),
    ("0 activation bits", ["train", "CNV_1W0A"], ["activations of CNV_1W0A must have 1 to 8 bits, but got 0"]),
    ("9 input bits", [*TRAIN, "--input-bits", "9"], ["input_bits must be a whole number, 1 to 8, but got 9"]),
    ("unknown data", ["train", "CNV_1W1A", "--data", "emnist"], ["'emnist'", "digits, cifar10, cifar100"]),
    (
        "missing data",
        ["train", "CNV_1W1A", "--data-root", "empty"],
        ["no cifar-10-batches-bin in empty", "--data-root"],
    ),
    ("data root is a file", ["train", "CNV_1W1A", "--data-root", "file"], ["file", "--data-root or QTRAIN_DATA"]),
    ("no epochs", [*TRAIN, "--epochs", "0"], ["epochs must be a whole number, 1 or more, but got 0"]),
    ("part of an epoch", [*TRAIN, "--epochs", "1.5"], ["epochs must be a whole number, but got '1.5'"]),
    ("rate 0", [*TRAIN, "--lr", "0"], ["lr must be a number above 0, or auto, but got 0.0"]),
    ("rate below 0", [*TRAIN, "--lr", "-0.1"], ["lr must be a number above 0, or auto, but got -0.1"]),
    ("rate in words", [*TRAIN, "--lr", "big"], ["lr must be a number or auto, but got 'big'"]),
    ("no rate", [*TRAIN, "--lr"], ["--lr", "expected one argument"]),
    ("unknown scheduler", [*TRAIN, "--scheduler", "step"], ["one of aslr, aslr_decay", "'step'"]),
    ("unknown optimizer", [*TRAIN, "--optimizer", "lion"], ["optimizer must be one of sgd, nag, adam, adamw, but got"]),
    ("text for a size", [*TRAIN, "--train-size", "all"], ["train_size must be a whole number, but got 'all'"]),
    ("more than there is", [*TRAIN, "--train-size", "5000"], ["train_size 5000", "1 to 1360"]),
    ("validation too large", [*TRAIN, "--validation-size", "1400"], ["validation_size 1400", "10 to 1390"]),
    ("paper with a split", [*TRAIN, "--protocol", "paper"], ["validation_size 40", "paper", "leave it out"]),
    ("text for a switch", [*TRAIN, "--augment", "maybe"], ["augment must be true or false, but got 'maybe'"]),
    ("text for a list", [*TRAIN, "--milestones", "half"], ["milestones must be a list such as 0.5,0.75", "'half'"]),
    ("part of a list", [*TRAIN, "--milestones", "0.5,x"], ["milestones must be a list such as 0.5,0.75", "'0.5,x'"]),
    ("milestone after the end", [*TRAIN, "--milestones", "[2]"], ["fractions between 0 and 1, but got [2.0]"]),
    ("too wide", [*TRAIN, "--width", "1e9"], ["width must be above 0, at most 32"]),
    ("seed below 0", [*TRAIN, "--seed", "-1"], ["seed must be a whole number, 0 to 4294967295, but got -1"]),
    ("unknown device", [*TRAIN, "--device", "gpu"], ["device 'gpu' is not available here; use auto, cpu or cuda:N"]),
    ("unknown flag", [*TRAIN, "--batchsize", "5"], ["--batchsize 5", "--help"]),
    ("half a flag", [*TRAIN, "--epoch", "5"], ["--epoch 5", "--help"]),
    ("a second network", [*TRAIN, "CNV_2W2A"], ["CNV_2W2A", "--help"]),
    ("unknown command", ["trian"], ["'trian'", "train", "export", "verify", "compare"]),
    ("no such config", ["train", "--config", "no.yaml"], ["--config", "no.yaml"]),
    ("a text for config", ["train", "--config", "file"], ["--config", "map names to values"]),
    ("bytes for config", ["train", "--config", "run/best.pt"], ["--config"]),
    ("a folder for config", ["train", "--config", "mine"], ["--config", "mine"]),
    ("the loss is not finite", [*TRAIN, "--lr", "1e30"], ["the loss is", "lower --lr (it is 1e+30)"]),
    ("not finite, below new folders", [*TRAIN, "--lr", "1e30", "--out", "a/b/c"], ["lower --lr"]),
    ("not finite, in an empty folder", [*TRAIN, "--lr", "1e30", "--out", "empty"], ["lower --lr"]),
    (
        "a folder with other things",
        [*TRAIN, "--out", "mine"],
        ["mine holds other things", "name a new or empty folder"],
    ),
    ("a run's folder", [*TRAIN, "--out", "run"], ["run holds a run already", "--resume run"]),
    ("a file for a folder", [*TRAIN, "--out", "file"], ["file holds other things", "name a new or empty folder"]),
    ("below a file", [*TRAIN, "--out", "file/run"], ["cannot write to file/run", "name another folder"]),
    ("where nobody writes", [*TRAIN, "--out", "/proc/new/run"], ["cannot write to /proc/new/run"]),
    ("resume nothing", ["train", "--resume", "nowhere"], ["nowhere is not a run folder", "qtrain train wrote"]),
    ("resume an empty folder", ["train", "--resume", "empty"], ["empty is not a run folder", "qtrain train wrote"]),
    ("resume other things", ["train", "--resume", "mine"], ["mine is not a run folder"]),
    ("resume a file", ["train", "--resume", "file"], ["file is not a run folder"]),
    ("resume otherwise", ["train", "--resume", "stopped", "--batch-size", "7"], ["leave out --batch-size"]),
    ("resume another", ["train", "CNV_2W2A", "--resume", "stopped"], ["leave out CNV_2W2A"]),
    ("resume with a config", ["train", "--resume", "run", "--config", "run/recipe.yaml"], ["leave out --config"]),
    ("resume on no device", ["train", "--resume", "stopped", "--device", "gpu"], ["device 'gpu' is not available"]),
    ("export nothing", ["export", "nowhere"], ["nowhere is not a run folder"]),
    ("export an empty folder", ["export", "empty"], ["empty is not a run folder"]),
    ("export an unfinished run", ["export", "stopped"], ["stopped holds no best.pt"]),
    ("export no run", ["export"], ["run"]),
    (
        "unknown board",
        ["export", "run", "--board", "zcu105"],
        ["unknown board 'zcu105'", "ZCU104", "did you mean ZCU104"],
    ),
    ("no frames", ["export", "run", "--target-fps", "0"], ["target_fps must be 1 frame a second or more, but got 0"]),
    ("no clock", ["export", "run", "--clock-ns", "0"], ["clock_ns must be above 0 nanoseconds, but got 0.0"]),
    ("a clock of 1 THz", ["export", "run", "--clock-ns", "0.001"], ["clock_ns must be from 1", "but got 0.001"]),
    (
        "more frames than cycles",
        ["export", "run", "--target-fps", "99999999999"],
        ["target_fps must be at most 100000000, one frame in each clock cycle of 10 ns", "but got 99999999999"],
    ),
    (
        "export over things",
        ["export", "run", "--out", "mine"],
        ["mine holds other things", "name a new or empty folder"],
    ),
    ("export to a file", ["export", "run", "--out", "file"], ["file is a file; name a new or empty folder"]),
    ("export below a file", ["export", "run", "--out", "file/finn"], ["cannot write to file/finn"]),
    ("export where nobody writes", ["export", "run", "--out", "/proc/new/finn"], ["cannot write to /proc/new/finn"]),
    ("verify nothing", ["verify", "nowhere"], ["nowhere is not a FINN folder", "qtrain export wrote"]),
    ("verify a run", ["verify", "run"], ["run is not a FINN folder (no manifest.json)"]),
    ("verify an empty folder", ["verify", "empty"], ["empty is not a FINN folder"]),
    ("verify a file", ["verify", "file"], ["file is not a FINN folder"]),
    ("unknown table", ["reproduce", "table9"], ["what must be one of all, table1,", "but got 'table9'"]),
    (
        "network of no table",
        ["reproduce", "table3", "--networks", "CNV"],
        ["networks must be of table3: CNV_1W1A,", "CNV"],
    ),
    ("no seeds", [*COMPARE, "--seeds", "0"], ["seeds must be 1 or more, but got 0"]),
    ("seeds in words", [*COMPARE, "--seeds", "few"], ["seeds must be a whole number, but got 'few'"]),
    ("tolerance below 0", [*COMPARE, "--tolerance", "-1"], ["tolerance must be 0 points or more, but got -1.0"]),
    (
        "undecided is another word",
        [*COMPARE, "--undecided", "maybe"],
        ["undecided must be ok or fail, but got 'maybe'"],
    ),
    ("nothing to compare with", [*COMPARE, "--schedulers", "aslr"], ["aslr and at least one other, each once"]),
    ("no aslr", [*COMPARE, "--schedulers", "multistep,cosine"], [f"{DEFAULT} and at least one other, each once"]),
    ("twice the same", [*COMPARE, "--schedulers", "aslr,aslr"], ["aslr and at least one other, each once"]),
    ("unknown in a list", [*COMPARE, "--schedulers", "aslr,step"], ["one of aslr, aslr_decay", "'step'"]),
    ("unknown board to come", [*COMPARE, "--board", "foo"], ["unknown board 'foo'"]),
    ("compare over things", [*COMPARE, "--out", "mine"], ["mine holds other things", "name a new or empty folder"]),
    ("compare over a run", [*COMPARE, "--out", "run"], ["run holds other things", "name a new or empty folder"]),
    ("compare below a file", [*COMPARE, "--out", "file/x"], ["cannot write to file/x"]),
    ("no network to compare", ["compare"], ["name a network"]),
]


@pytest.mark.parametrize(("words", "says"), [pytest.param(w, s, id=name) for name, w, s in BAD])
def test_a_mistake_is_one_helpful_line_with_status_2_and_changes_nothing(
    here: Path, cli: Callable, words: list[str], says: list[str]
) -> None:
    before = tree(here)
    check_refusal(cli(*words), 2, *says)
    assert tree(here) == before


@pytest.mark.parametrize(("name", "size"), [("data_batch_3.bin", 1000), ("test_batch.bin", 0)])
def test_truncated_cifar_is_named_and_left_alone(here: Path, cli: Callable, name: str, size: int) -> None:
    folder = here / "data" / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    records = np.zeros((10_000, 3073), np.uint8)
    records[:, 0] = np.arange(10_000) % 10
    for member in (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"):
        (folder / member).write_bytes(records.tobytes()[: size if member == name else None])
    before = tree(here)
    check_refusal(cli("train", "CNV_1W1A", "--data", "cifar10", "--data-root", "data"), 2, name)
    assert tree(here) == before


DAMAGE: list[tuple[str, str, bytes | None, str, list[str]]] = [
    ("recipe is text", "recipe.yaml", b"hello", "both", ["recipe.yaml holds no recipe"]),
    ("recipe is cut", "recipe.yaml", b"network: CNV_1W1A\nmilestones: [0.", "both", ["recipe.yaml is not YAML"]),
    ("recipe out of range", "recipe.yaml", b"network: CNV_1W1A\nepochs: -1", "both", ["recipe.yaml: epochs must be"]),
    ("recipe of another program", "recipe.yaml", b"layers: 3", "both", ["recipe.yaml has no field layers"]),
    ("recipe is bytes", "recipe.yaml", b"\xff\xfe\x00", "both", ["recipe.yaml is not YAML"]),
    ("recipe lost", "recipe.yaml", None, "both", ["is not a run folder (no recipe.yaml)"]),
    ("records are text", "records.jsonl", b"hello\n", "train", ["records.jsonl is damaged"]),
    (
        "records are others",
        "records.jsonl",
        b"[1]\n3\n",
        "train",
        ["records.jsonl is damaged (line 1: a JSON object is expected, not [1])"],
    ),
    ("records lost", "records.jsonl", None, "train", ["is not a run folder (no records.jsonl)"]),
    ("last is empty", "checkpoint.pt", b"", "train", ["checkpoint.pt is damaged", "train again"]),
    ("last is text", "checkpoint.pt", b"hello", "train", ["checkpoint.pt is damaged"]),
    ("best is empty", "best.pt", b"", "export", ["best.pt is damaged", "train again"]),
    ("best is text", "best.pt", b"hello", "export", ["best.pt is damaged"]),
    ("best lost", "best.pt", None, "export", ["holds no best.pt"]),
]


@pytest.mark.parametrize(
    ("name", "content", "commands", "says"), [pytest.param(*rest, id=case) for case, *rest in DAMAGE]
)
def test_a_damaged_run_folder_is_named_and_left_alone(
    here: Path, cli: Callable, name: str, content: bytes | None, commands: str, says: list[str]
) -> None:
    for command in ("train", "export") if commands == "both" else (commands,):
        folder = here / ("stopped" if command == "train" else "run")
        (folder / name).unlink(missing_ok=True)
        if content is not None:
            (folder / name).write_bytes(content)
        before = tree(here)
        words = ["train", "--resume", folder] if command == "train" else ["export", folder]
        check_refusal(cli(*words), 2, str(folder), *says)
        assert tree(here) == before


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_a_truncated_checkpoint_is_named_and_left_alone(here: Path, cli: Callable, share: float) -> None:
    for words, path in (
        (["train", "--resume", "stopped"], here / "stopped" / "checkpoint.pt"),
        (["train", "--resume", "run"], here / "run" / "best.pt"),
        (["export", "run"], here / "run" / "best.pt"),
    ):
        whole = path.read_bytes()
        path.write_bytes(whole[: int(share * len(whole))])
        before = tree(here)
        check_refusal(cli(*words), 2, path.name, "is damaged")
        assert tree(here) == before


@pytest.mark.parametrize("words", [["train", "--resume", "run"], ["export", "run"]])
def test_a_checkpoint_of_another_network_is_told_by_both_names(here: Path, cli: Callable, words: list[str]) -> None:
    shutil.copy("other/best.pt", "run/best.pt")
    before = tree(here)
    check_refusal(cli(*words), 2, "run/best.pt", "network CNV_2W2A instead of CNV_1W1A")
    assert tree(here) == before


def test_a_checkpoint_of_another_run_is_refused_on_resume(here: Path, cli: Callable) -> None:
    shutil.copy("other/checkpoint.pt", "stopped/checkpoint.pt")
    before = tree(here)
    check_refusal(cli("train", "--resume", "stopped"), 2, "stopped/checkpoint.pt", "network CNV_2W2A")
    assert tree(here) == before


def test_weights_that_do_not_fit_are_refused_even_under_the_right_name(here: Path, cli: Callable) -> None:
    state = torch.load("run/best.pt", weights_only=True)
    state["model"]["fc3.weight"] = torch.zeros(3, 3)
    torch.save(state, "run/best.pt")
    check_refusal(cli("export", "run"), 2, "run/best.pt does not fit CNV", "fc3.weight")


class Trap:
    """Unpickling it makes a folder."""

    def __reduce__(self) -> tuple:
        return Path.mkdir, (Path("sprung"),)


@pytest.mark.parametrize("by_torch", [True, False])
def test_a_checkpoint_with_code_in_it_is_refused_and_not_run(here: Path, cli: Callable, by_torch: bool) -> None:
    for words, path in (
        (["train", "--resume", "stopped"], Path("stopped/checkpoint.pt")),
        (["export", "run"], Path("run/best.pt")),
    ):
        state = torch.load(path, weights_only=True) | {"extra": Trap()}
        torch.save(state, path) if by_torch else path.write_bytes(pickle.dumps(state, protocol=2))
        check_refusal(cli(*words), 2, path.name, "damaged or no checkpoint of qtrain")
        assert not Path("sprung").exists()


def test_training_prints_the_result_and_where_it_is(here: Path, cli: Callable) -> None:
    outcome = cli(*TRAIN, "--seed", "3")
    assert (outcome.status, outcome.err) == (0, "")
    folder = f"runs/CNV_1W1A-digits-{DEFAULT}-seed3"
    *_, result, onward = outcome.out.splitlines()
    assert result.startswith(f"{folder}: test accuracy ")
    assert onward == f"next: qtrain export {folder}"
    again = cli("train", "--resume", folder)
    assert (again.status, again.out.splitlines()) == (0, [result, onward])
    assert " parameters" not in outcome.out
    quiet = cli("train", "--resume", folder, "--quiet")
    assert (quiet.status, quiet.out.splitlines()) == (0, [result])


def test_verbose_says_what_a_run_works_with_and_where_an_error_came_from(here: Path, cli: Callable) -> None:
    outcome = cli(*TRAIN, "--verbose", "--device", "cpu")
    assert outcome.status == 0
    for part in (
        "CNV_1W1A: ",
        " parameters, 3 steps an epoch",
        "digits: 10 classes, images 60 to train",
        "trains on cpu, ",
    ):
        assert part in outcome.out
    refused = cli(*TRAIN, "--verbose", "--lr", "1e30", "--out", "other-run")
    assert refused.status == 2
    assert "Traceback" in refused.err
    assert refused.err.splitlines()[-1].startswith("qtrain: the loss is ")


def test_a_quiet_export_prints_where_the_folder_is(here: Path, cli: Callable) -> None:
    outcome = cli("export", "run", "--quiet")
    assert (outcome.status, outcome.err) == (0, "")
    assert [line.partition(":")[0] for line in outcome.out.splitlines()] == ["run/finn"]


def test_finns_style_of_a_name_is_the_same_network(here: Path, cli: Callable) -> None:
    assert cli("train", "cnv-w1a1", *SMALL, "--out", "a").status == 0
    assert yaml.safe_load(Path("a/recipe.yaml").read_text())["network"] == "CNV_1W1A"


def test_a_config_file_trains(here: Path, cli: Callable, tiny: Callable[..., Recipe]) -> None:
    Path("mine.yaml").write_text(dump_recipe(tiny(epochs=5, seed=9)))
    assert cli("train", "--config", "mine.yaml", "--epochs", "1", "--out", "a").status == 0
    assert yaml.safe_load(Path("a/recipe.yaml").read_text()) == tiny(epochs=1, seed=9).to_dict()


def test_no_command_shows_the_help_and_asks_for_one(cli: Callable) -> None:
    outcome = cli()
    check_refusal(
        outcome,
        2,
        "name a command: train, lr-range, quantize, export, verify, estimate, lint, models, compare, sweep, fit, "
        "reproduce, report",
    )
    assert outcome.out == cli("--help").out
    for name in ("train", "export", "verify", "lint", "models", "compare", "qtrain train CNV_1W1A"):
        assert name in " ".join(outcome.out.split())


COMMANDS = [
    "train",
    "lr-range",
    "quantize",
    "export",
    "verify",
    "estimate",
    "lint",
    "models",
    "compare",
    "reproduce",
    "report",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_writes_flags_with_dashes_and_shows_defaults(cli: Callable, command: str) -> None:
    outcome = cli(command, "--help-all")
    assert (outcome.status, outcome.err) == (0, "")
    flags = [word for word in outcome.out.replace("[", " ").split() if word.startswith("--")]
    assert not [flag for flag in flags if "_" in flag]
    if command in ("train", "compare"):
        assert {"--batch-size", "--print-config", "--config", "--data-root"} <= set(flags)
        assert "passes over the training split [default: 100]" in " ".join(outcome.out.split())
        assert "shipped recipe" in outcome.out


def test_the_program_starts_without_torch_and_fails_in_one_line_as_a_process_too(tmp_path: Path) -> None:
    root = str(Path(__file__).parents[1])
    code = "import sys; sys.path.insert(0, sys.argv.pop(1))\nfrom qtrain.cli import main\n"
    code += "assert not {'torch', 'brevitas', 'onnx'} & set(sys.modules)\nmain()"
    run = [sys.executable, "-c", code, root]
    version = subprocess.run([*run, "--version"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert version.stdout.startswith("qtrain ")
    bad = subprocess.run([*run, *TRAIN, "--epochs", "x"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (bad.returncode, bad.stdout) == (2, "")
    assert bad.stderr == "qtrain: epochs must be a whole number, but got 'x'\n"
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("words", [["models", "RESNET20_4W4A"], ["train", "CNV_1W1A", "--print-config"]])
def test_a_reader_that_has_seen_enough_is_no_error(tmp_path: Path, words: list[str]) -> None:
    root = str(Path(__file__).parents[1])
    code = "import sys; sys.path.insert(0, sys.argv.pop(1))\nfrom qtrain.cli import main\nmain()"
    run = [sys.executable, "-W", "ignore", "-c", code, root, *words]
    process = subprocess.Popen(run, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.close()  # type: ignore[union-attr]  # as head does
    assert process.wait(timeout=120) == 141
    assert process.stderr.read() == ""  # type: ignore[union-attr]
    process.stderr.close()  # type: ignore[union-attr]
