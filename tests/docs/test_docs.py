"""The documentation: it builds without a warning, is complete and up to date, and its code runs."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch

from docs_tools.pages import DOCS, command_parsers, filled, pages
from docs_tools.rules import findings, read_probes, recorded_findings
from qtrain.cli import _COMMANDS
from qtrain.experiments.run import load_run
from qtrain.export.compiler.boards import BOARDS
from qtrain.export.lint.table import BY_ID
from qtrain.models import build_model
from qtrain.schedulers.catalogue import SCHEDULERS
from tests.trained_networks import pynq_module

ROOT = Path(__file__).parents[2]
MARKED = re.compile(r"<!-- test -->\n```python\n(.*?)```", re.DOTALL)
BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)
NEW_FILE = re.compile(r"^New file `([^`]+)`:\n\n```\w+\n(.*?)```", re.M | re.DOTALL)


def marked_blocks() -> dict[str, str]:
    """Python of the pages that is to run, by page and number."""
    found = {}
    for page in sorted(DOCS.glob("*.md")):
        for i, code in enumerate(MARKED.findall(page.read_text()), 1):
            found[f"{page.stem}-{i}"] = code
    return found


# --- The site --------------------------------------------------------------------------------------------------------


class Loads(HTMLParser):
    """Collects what a page loads from elsewhere when it is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        address = given.get("href" if tag == "link" else "src") or ""
        if tag in ("link", "script", "img", "iframe") and re.match(r"(https?:)?//", address):
            self.found.append(address)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("mkdocstrings", reason="pip install -e '.[docs]'")
    out = tmp_path_factory.mktemp("docs") / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(out)]
    env = os.environ | {"NO_MKDOCS_2_WARNING": "1"}  # Material speaks of its successor
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=env)
    assert run.returncode == 0, run.stderr
    assert "WARNING" not in run.stderr
    return out


@pytest.mark.slow
def test_the_site_builds_strictly_and_has_every_page(site: Path) -> None:
    wanted = {page.relative_to(DOCS).with_suffix(".html").as_posix() for page in DOCS.rglob("*.md")}
    assert {*wanted, "results.html"} <= {path.relative_to(site).as_posix() for path in site.rglob("*.html")}


@pytest.mark.slow
def test_no_page_loads_anything_from_the_network(site: Path) -> None:
    for page in (path for path in site.rglob("*.html") if "sweeps" not in path.parts):
        loads = Loads()
        loads.feed(page.read_text())
        assert not loads.found, page


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "name"),
    [
        ("aslr", "qtrain.schedulers.aslr.ASLR.step"),
        ("layer-groups", "qtrain.schedulers.parameter_groups.layer_groups"),
        ("schedules", "qtrain.schedulers.schedules.wsd"),
        ("schedules", "qtrain.schedulers.catalogue.Scheduler"),
        ("recipe", "qtrain.recipe.Recipe"),
        ("data", "qtrain.data.load.load_data"),
        ("training", "qtrain.training.loop.train"),
        ("models", "qtrain.models.build_model"),
        ("models", "qtrain.models.quantize.quantize"),
        ("fast-forward", "qtrain.models.fast_forward.fast_forward"),
        ("export", "qtrain.export.pipeline.export_finn"),
        ("experiments", "qtrain.experiments.comparison.compare.compare"),
        ("experiments", "qtrain.experiments.sweep.run.sweep"),
        ("report", "qtrain.report.comparison.tables"),
    ],
)
def test_the_api_has(site: Path, page: str, name: str) -> None:
    assert f'id="{name}"' in (site / "api" / f"{page}.html").read_text()


@pytest.mark.slow
def test_recorded_results_are_on_the_site_with_their_figures(site: Path) -> None:
    images = re.findall(r"!\[[^\]]*\]\((\S+\.png)\)", (ROOT / "results/README.md").read_text())
    assert images
    assert all((site / image).is_file() for image in images)


def test_links_of_the_readme_lead_somewhere() -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / "README.md").read_text())
    assert targets
    assert not [target for target in targets if not (ROOT / target).exists()]


# --- Complete and up to date -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.stem)
def test_what_is_generated_is_up_to_date(page: Path) -> None:
    assert page.read_text() == filled(page.read_text()), "run: python -m docs_tools.pages"


def test_every_command_and_option_is_on_the_commands_page() -> None:
    text = (DOCS / "commands.md").read_text()
    assert set(command_parsers()) == set(_COMMANDS)
    for name, parser in command_parsers().items():
        assert f"\n## qtrain {name}\n" in text
        for option in (option.name for option in parser.options if option.name.startswith("--")):
            assert f"`{option.replace('_', '-')}`" in text


def test_every_rule_of_lint_is_on_the_rules_page_with_a_probe_or_an_example() -> None:
    text, asked = (DOCS / "finn-rules.md").read_text(), {r for p in read_probes().values() for r in p.rules}
    recorded = recorded_findings()
    for rule in BY_ID:
        assert f"### `{rule}`" in text
        assert rule in asked or recorded[rule].get("code") or rule == "graph"


def test_recorded_findings_are_what_lint_says() -> None:
    recorded = recorded_findings()
    assert set(recorded) == set(BY_ID)
    for found in findings(("not-quantized", "average-pool", "frozen-branch", "graph", "groups")):
        assert found == recorded[found["rule"]], "run: python -m docs_tools.pages --lint"


def test_every_scheduler_is_on_its_page() -> None:
    rows = [line for line in (DOCS / "schedulers.md").read_text().splitlines() if line.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert named == set(SCHEDULERS.built_in)


def test_probes_are_read_as_they_are() -> None:
    from tests.export.lint.probes import PROBES

    read = read_probes()
    assert {name for name in PROBES if not name.startswith("cnv_")} == set(read)
    for name, probe in read.items():
        theirs = PROBES[name]
        assert (probe.accepted, probe.mended or None) == (theirs.accepted, theirs.mended)
        assert probe.rules == (*([theirs.rule] if theirs.rule else []), *theirs.also)


# --- Code on the pages -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", marked_blocks().values(), ids=marked_blocks())
def test_marked_python_runs(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "docs", "exec"), {"__name__": "docs"})


def readme_block(word: str) -> str:
    return next(c for kind, c in BLOCK.findall((ROOT / "README.md").read_text()) if kind == "python" and word in c)


def smaller(code: str, changes: dict[str, str]) -> str:
    """Return a page's code with what would take long in another size."""
    for theirs, ours in changes.items():
        assert theirs in code
        code = code.replace(theirs, ours)
    return code


@pytest.mark.slow
def test_the_readmes_training_runs_and_its_export_is_of_what_it_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    changes = {"cifar10": "digits", "epochs=100": "epochs=1, train_size=100", "width=0.5": "width=0.125"}
    code = smaller(readme_block("export_finn"), {**changes, "(recipe.data).test": "(recipe.data).test.take(50)"})
    names: dict[str, Any] = {}
    exec(compile(code, "README", "exec"), names)
    recipe, model = load_run(tmp_path / "runs/b")
    assert recipe == names["recipe"]
    assert all(torch.equal(value, names["model"].state_dict()[name]) for name, value in model.state_dict().items())
    assert (tmp_path / "runs/b/finn/manifest.json").is_file()


PAGES = {
    "sweep": {"[1, 2, 4]": "[1]", "epochs=12": "epochs=1, train_size=100", "width=0.25": "width=0.125"},
    "search": {"[1, 2, 4, 8]": "[1, 2]", "epochs=12, board": "epochs=1, train_size=100, width=0.125, board"},
}
PAGES["search"] |= {"plan_search(20, recipe_epochs=12": "plan_search(2, recipe_epochs=1"}


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_the_sweeps_of_the_pages_train_and_export(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (code,) = (c for kind, c in BLOCK.findall((DOCS / f"{page}.md").read_text()) if "plan_sweep(" in c)
    names: dict[str, Any] = {}
    exec(compile(smaller(code, PAGES[page]), page, "exec"), names)
    assert names["rows"]
    assert all(row["test_accuracy"] is not None and row["proof"] for row in names["rows"])


def test_the_networks_pages_checkpoint_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(pynq_module("FC").FC(10, 1, 1, 1, 1, [64] * 3).state_dict(), "tfc_1w1a-45185b4d.pth")
    (code,) = (c for kind, c in BLOCK.findall((DOCS / "networks.md").read_text()) if kind == "python")
    names: dict[str, Any] = {}
    exec(compile(code, "networks", "exec"), names)
    assert names["model"](torch.rand(2, 1, 28, 28)).shape == (2, 10)


def test_the_readmes_aslr_runs() -> None:
    names: dict[str, Any] = {"torch": torch, "model": build_model("CNV_1W1A", width=0.125), "epochs": 2}
    names["validation_error"] = 0.5
    code = readme_block("ASLR(optimizer)")
    assert "...  # your training" in code
    exec(compile(code.replace("...  # your training", "optimizer.step()"), "README", "exec"), names)
    assert names["scheduler"].last_epoch == names["scheduler"].drawn == 2
    assert len(names["optimizer"].param_groups) > 3


# --- Extending -------------------------------------------------------------------------------------------------------


RUN_ALL = """
import shlex, sys
from qtrain.cli import main
for command in sys.stdin.read().strip().splitlines():
    try:
        main(shlex.split(command)[1:])
    except SystemExit as end:
        assert end.code == 0, (command, end.code)
"""


@dataclass(frozen=True)
class Example:
    """The package of docs/extending.md, installed beside qtrain, in the folder that its commands run in."""

    folder: Path
    said: str = ""

    def run(self, commands: str) -> str:
        """Run commands of qtrain in a process that has the package, and return what they print."""
        env = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(self.folder / "site")])}
        line = [sys.executable, "-W", "ignore", "-c", RUN_ALL]
        run = subprocess.run(line, cwd=self.folder, env=env, input=commands, capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        return run.stdout + run.stderr


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Example:
    """Write and install the package without a network, and run the page's commands with it."""
    page, folder = (DOCS / "extending.md").read_text(), tmp_path_factory.mktemp("extending")
    files = NEW_FILE.findall(page)
    assert {path.split("/")[0] for path, _ in files} == {"qtrain-example"}
    for path, code in files:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(code)
    (commands,) = [code for kind, code in BLOCK.findall(page) if kind == "sh"]
    install, _, commands = commands.partition("\n")
    assert install == "pip install ./qtrain-example"
    offline = ["--no-index", "--no-deps", "--no-build-isolation", "--target", str(folder / "site"), *install.split()[2:]]
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", *offline], cwd=folder, check=True)
    return Example(folder, Example(folder).run(commands))


@pytest.mark.slow
def test_the_example_package_trains_exports_and_is_proven(example: Example) -> None:
    assert "ZCU106" not in BOARDS
    for said in ("No errors", "TINY_2W2A polynomial seed 0  epoch 3/3", "100 of 100", "ready for FINN on ZCU106"):
        assert said in example.said
    assert "two convolutions, as an example" in example.run("qtrain models")


def test_finn_estimates_the_example_package(example: Example, finn_plus: str) -> None:
    said = example.run("qtrain estimate runs/tiny/finn")
    assert "ZCU106" in said
