"""What starts without torch, and what Brevitas is imported without: shown by the modules that a process has loaded."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from qtrain.recipe import Recipe, dump_recipe
from tests.sampled import sampled

HEAVY = {
    "brevitas",
    "matplotlib",
    "numpy",
    "onnx",
    "onnxruntime",
    "pandas",
    "qonnx",
    "scipy",
    "sklearn",
    "sympy",
    "torch",
}

# Prints, as the last line, the modules that are loaded at the end.
LISTED = "import atexit, json, sys; atexit.register(lambda: print(json.dumps(sorted(sys.modules))));"


def loaded(code: str, cwd: Path) -> tuple[set[str], str]:
    """Run code in a process of its own; return the modules loaded at its end, and what it says to standard error."""
    run = subprocess.run([sys.executable, "-c", LISTED + code], capture_output=True, text=True, cwd=cwd, check=False)
    assert run.stdout, run.stderr
    return set(json.loads(run.stdout.splitlines()[-1])), run.stderr


# Runs command lines in forks of a process that has started, each in a folder of its own, and prints what came of each.
FORKS = """
import contextlib, io, json, os, sys
import qtrain.cli
for line in sys.stdin:
    words, folder = json.loads(line)
    if not os.fork():
        os.chdir(folder)
        out, err = io.StringIO(), io.StringIO()
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                qtrain.cli.main(words)
        except SystemExit:
            pass
        print(json.dumps([sorted(sys.modules), err.getvalue()]), flush=True)
        os._exit(0)
    os.wait()
"""


@pytest.fixture(scope="module")
def started() -> Iterator[Callable[..., tuple[set[str], str]]]:
    """Return a function that runs a command in a folder; modules loaded at its end, and its standard error."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", FORKS], **pipes) as process:

        def run(folder: Path, *words: str) -> tuple[set[str], str]:
            process.stdin.write(json.dumps([words, str(folder)]) + "\n")
            process.stdin.flush()
            modules, said = json.loads(process.stdout.readline())
            return set(modules), said

        yield run


def command(*words: str) -> str:
    return f"from qtrain.cli import main; main({list(words)!r})"


REFUSED = [
    ((), "name a command"),
    (("trian",), "did you mean train?"),
    (("train",), "name a network"),
    (("train", "CNV_1W1A", "--batchsize", "5"), "--batchsize 5"),
    (("train", "CNV_1W1A", "--epochs", "0"), "epochs must be a whole number"),
    (("train", "CNV_1W1A", "--log", "tensorbord"), "a logger must be one of tensorboard"),
    (("train", "CNV_1W1A", "--scheduler", "aslr_decy"), "did you mean aslr_decay?"),
    (("train", "CNV_1W1A", "--bits", "first"), "is not LAYERS=BITS"),
    (("train", "CNW_1W1A"), "did you mean CNV?"),
    (("train", "CNV_9W1A"), "must have 1 to 8 bits"),
    (("train", "CNV_1W1A", "--data", "cifar11"), "unknown data set 'cifar11'"),
    (("lr-range", "CNV_1W1A", "--data", "cifar11"), "unknown data set 'cifar11'"),
    (("compare", "CNV,VGG12", "--bits", "1,2"), "unknown network 'VGG12_1W1A'"),
    (("compare", "CNV_1W1A", "--jobs", "0"), "jobs must be 1 or more"),
    (("sweep", "CNW", "--weight-bits", "1"), "unknown family 'CNW'"),
    (("sweep", "CNV", "--weight-bits", "one"), "weight_bits must be widths"),
    (("reproduce", "table9"), "what must be one of all"),
    (("quantize", "net.py:Net"), "name the data"),
    (("verify", "finn", "--run", "run", "--finn"), "--run goes with neither"),
    (("estimate", "finn", "--max-utilization", "2"), "max_utilization is 2"),
    (("models", "--width", "2"), "name a network for --width"),
    (("train", "--resume", "nowhere"), "nowhere is not a run folder"),
    (("train", "CNV_1W1A", "--data", "digits", "--out", "."), "holds other things already"),
    (("export", "nowhere"), "nowhere is not a run folder"),
    (("runs", "--filter", "best"), "is no condition such as best>=80"),
    (("watch", "nowhere"), "nowhere is not there"),
    (("train", "CNV_1W1A", "--data", "digits", "--out", "run"), "run holds a run already"),
    (("train", "CNV"), "CNV has no bit widths"),
    (("train", "CVN"), "did you mean CNV?"),
    (("models", "resnt"), "did you mean RESNET"),
    (("train", "CNV_1W1A", "--data", "digitts"), "did you mean digits?"),
    (("train", "CNV_1W1A", "--optimizer", "sdg"), "did you mean sgd?"),
    (("train", "CNV_1W1A", "--epocs", "3"), "did you mean --epochs?"),
    (("reproduce", "tabel3"), "did you mean table3?"),
    (("compare", "CNV_1W1A", "--schedulers", "aslr_decay,multisetp"), "did you mean multistep?"),
    (("compare", "CNV_1W1A", "--challenger", "aslr_dcay"), "did you mean aslr_decay?"),
    (("compare", "CNV_1W1A", "--engine", "rya"), "did you mean ray?"),
    (("sweep", "CNV", "--search-cost", "bop"), "did you mean bops?"),
    (("export", "run", "--dialect", "finbase"), "did you mean finn-base?"),
    (("lint", "CNV_1W1A", "--scaling", "lerned"), "did you mean learned?"),
    (("train", "CNV_1W1A", "--quiet", "--verbose"), "exclude each other"),
    (("estimate", "missing.onnx"), "missing.onnx does not exist"),
]


@pytest.mark.parametrize(("words", "why"), REFUSED, ids=[" ".join(words) or "nothing" for words, _ in REFUSED])
def test_what_needs_no_torch_is_refused_before_torch_is_loaded(
    words: tuple[str, ...], why: str, tmp_path: Path, started: Callable
) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "recipe.yaml").write_text(dump_recipe(Recipe("CNV_1W1A", "digits")))
    modules, said = started(tmp_path, *words)
    assert why in said
    assert not modules & HEAVY


@pytest.mark.parametrize(
    "words",
    [
        ("--help",),
        ("--version",),
        ("train", "--help"),
        ("train", "CNV_1W1A", "--data", "digits", "--help"),
        ("sweep", "CNV", "--help-all"),
        ("models", "CNV"),
    ],
    ids=" ".join,
)
def test_help_and_version_load_no_torch(words: tuple[str, ...], tmp_path: Path, started: Callable) -> None:
    modules, said = started(tmp_path, *words)
    assert not said
    assert not modules & HEAVY


def test_the_list_of_networks_needs_no_torch(tmp_path: Path) -> None:
    modules, said = loaded(command("models"), tmp_path)
    assert not said
    assert "qtrain.experiments.zoo" in modules
    assert not modules & HEAVY


def test_names_are_checked_without_torch(tmp_path: Path) -> None:
    code = "from qtrain.models import FAMILIES, check_network; check_network('CNV_1W1A'); print(len(FAMILIES.rows()))"
    modules, _ = loaded(code, tmp_path)
    assert "qtrain.models.zoo" in modules
    assert not modules & HEAVY


@pytest.mark.slow
def test_networks_are_built_with_nothing_but_torch_and_brevitas(tmp_path: Path) -> None:
    """Of what is imported beside torch's own, all is qtrain's, Brevitas', or small."""
    torch_alone, _ = loaded("import torch", tmp_path)
    modules, said = loaded("from qtrain.models import build_model; build_model('CNV_1W1A')", tmp_path)
    assert not said
    assert {"torch", "brevitas"} <= modules
    assert not (modules - torch_alone) & (HEAVY - {"brevitas"})
    for dragged in ("torch._dynamo", "torch.utils.cpp_extension", "setuptools", "brevitas.export"):
        assert dragged not in modules


@pytest.mark.slow
def test_a_folder_is_proven_without_the_exporter(tmp_path: Path) -> None:
    modules, _ = loaded("from qtrain.export import verify", tmp_path)
    assert "torch._dynamo" not in modules
    assert "brevitas.export" not in modules


# Appends to a list when torch is imported and when a line is written to a standard error that is a terminal.
WATCHED = """
import io, sys
events = []
class Terminal(io.StringIO):
    def isatty(self):
        return True
    def write(self, text):
        events.append(text)
        return len(text)
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            events.append("torch is imported")
            raise SystemExit  # what comes after is tested elsewhere, and takes seconds
sys.meta_path.insert(0, Finder())
sys.stderr = Terminal()
from qtrain.cli import main
try:
    main(sys.argv[1:])
except SystemExit:
    pass
print(repr([event for event in events if event.strip()]))
"""
LOADING = [
    ("train", "CNV_1W1A", "--data", "digits", "--device", "gpu"),
    ("train", "--resume", "run", "--device", "gpu"),
    ("lr-range", "CNV_1W1A", "--data", "digits", "--out", "file/a.png"),
    ("compare", "CNV_1W1A", "--data", "digits", "--out", "file"),
    ("sweep", "CNV", "--weight-bits", "1", "--data", "digits", "--out", "file"),
    ("sweep", "--resume", "nowhere"),
    ("export", "run"),
    ("verify", "nowhere"),
    ("estimate", "run"),
    ("lint", "nowhere.onnx"),
    ("models", "CNV_1W1A", "--width", "0"),
    ("quantize", "nowhere.py:Net", "--data", "digits"),
    ("reproduce", "table3", "--networks", "CNV"),
]


CASES = [(words,) for words in LOADING]


@pytest.mark.parametrize("words", sampled(CASES, CASES[::4], id=lambda case: " ".join(case[0])))
def test_a_terminal_is_told_that_torch_is_loading_before_it_is(words: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "recipe.yaml").write_text(dump_recipe(Recipe("CNV_1W1A", "digits")))
    script = tmp_path / "watched.py"
    script.write_text(WATCHED)
    run = subprocess.run(
        [sys.executable, "-W", "ignore", str(script), *words], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    events = run.stdout.splitlines()[-1]
    assert events == "['loading torch', 'torch is imported']"


@pytest.mark.slow
def test_where_there_is_no_terminal_nothing_is_said_of_loading(tmp_path: Path) -> None:
    modules, said = loaded(command("train", "CNV_1W1A", "--data", "digits", "--device", "gpu"), tmp_path)
    assert "torch" in modules
    assert "loading" not in said


@pytest.mark.slow
def test_what_stands_in_for_brevitas_needs_loads_the_real_one(tmp_path: Path) -> None:
    code = """
import sys
import qtrain.models.build
import brevitas, torch
from brevitas.nn import hadamard_classifier as h
assert "torch._dynamo" not in sys.modules and "scipy" not in sys.modules
assert brevitas.is_dynamo_compiling() is False
assert torch.utils.cpp_extension.load.__module__ == "torch.utils.cpp_extension"
assert torch._dynamo.reset.__module__ == "torch._dynamo"
assert torch._dynamo is sys.modules["torch._dynamo"]
assert h.hadamard(4).tolist() == [[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]
import scipy.linalg
assert scipy.linalg.inv([[2.0]]).tolist() == [[0.5]]
compiled = torch.compile(lambda x: x + 1 if brevitas.is_dynamo_compiling() else x, backend="eager", fullgraph=True)
assert compiled(torch.zeros(1)).item() == 1
print("well")
"""
    _, said = loaded(code, tmp_path)
    assert "Error" not in said


@pytest.mark.slow
def test_brevitas_that_is_loaded_already_stays_as_it_is(tmp_path: Path) -> None:
    code = "import brevitas, torch; before = torch._dynamo; import qtrain.models.build; assert torch._dynamo is before"
    modules, said = loaded(code, tmp_path)
    assert "torch._dynamo" in modules
    assert "Error" not in said  # torch may tell that it finds no CUDA
