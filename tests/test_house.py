"""The layout: who imports whom, what is packaged, and that the wheel works away from the checkout."""

import ast
import subprocess
import sys
import tomllib
import venv
import zipfile
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from qtrain.export.compiler.start import ALONE

ROOT = Path(__file__).parents[1]
FOLDERS = {"qtrain.models": "models", "qtrain.export": "export"}

# Package -> what of qtrain it may import besides itself and what lies below it; all may import errors, records, the
# registry of plugins and the interruption of a run. A room inside a package has its package's row unless it has one of
# its own.
EVERYWHERE = {
    "qtrain.devices",
    "qtrain.errors",
    "qtrain.extras",
    "qtrain.library_warnings",
    "qtrain.triton_kernels",
    "qtrain.interrupt",
    "qtrain.records",
    "qtrain.plugins",
    "qtrain.own_code",
}
EVERYWHERE |= {"qtrain.brevitas_start"}  # which imports nothing of qtrain and comes before all
ALLOWED: dict[str, set[str]] = {
    "qtrain.models": {"qtrain.data", "qtrain.recipe"},  # a recipe describes a network, its data set the classes
    "qtrain.export": {"qtrain.generators"},
    "qtrain.generators": set(),
    "qtrain.module_state": set(),
    "qtrain.plugins": set(),
    "qtrain.extras": {"qtrain"},  # the version, which names the wheel
    "qtrain.own_code": set(),
    "qtrain.schedulers": {"qtrain.generators", "qtrain.module_state"},
    "qtrain.schedulers.catalogue": set(),
    "qtrain.optimizers": {"qtrain.module_state"},
    "qtrain.data": {"qtrain.data.catalogue", "qtrain.data.options"},
    "qtrain.data.options": set(),
    "qtrain.data.catalogue": set(),
    "qtrain.records": {"qtrain"},  # the version, which every run records
    "qtrain.engines": {"qtrain", "qtrain.training.progress"},  # tasks report as training does
    "qtrain.report.statistics": {"qtrain.schedulers.catalogue"},
    "qtrain.report.comparison.verdict": {"qtrain.report.statistics"},
    "qtrain.report": {
        *("qtrain.report.statistics", "qtrain.report.comparison.verdict", "qtrain.schedulers.catalogue"),
    },
    # Figures 3 and 4 are drawn by running ASLR itself
    "qtrain.report.paper": {
        *("qtrain.report", "qtrain.report.statistics", "qtrain.report.comparison.verdict", "qtrain.schedulers"),
        "qtrain.schedulers.catalogue",
    },
    "qtrain.recipe": {
        "qtrain.recipe_checks",
        "qtrain.schedulers.catalogue",
        "qtrain.data.catalogue",
        "qtrain.data.options",
    },
    "qtrain.recipe_checks": set(),
    "qtrain.recipes": set(),
    "qtrain.training": {
        "qtrain",
        "qtrain.module_state",
        "qtrain.schedulers",
        "qtrain.schedulers.catalogue",
        "qtrain.optimizers",
        "qtrain.data",
        "qtrain.models",  # the fast forward pass, and whether a model is its recipe's
        "qtrain.recipe",
        "qtrain.training.progress",
    },
    "qtrain.training.progress": set(),
    "qtrain.experiments": {
        *("qtrain.training", "qtrain.training.progress", "qtrain.engines"),
        *("qtrain.schedulers", "qtrain.schedulers.catalogue", "qtrain.models", "qtrain.export"),
        *("qtrain.data", "qtrain.recipe"),
        "qtrain",  # the version, which every node of a cluster must have
        # a comparison is judged by what its report shows
        *("qtrain.report.statistics", "qtrain.report.comparison.verdict"),
    },
}
# Inside a package: room -> the rooms of the same package that it may import. What is in no room may import all.
ROOMS: dict[str, set[str]] = {
    "qtrain.models.fused": set(),
    "qtrain.models.quantize": set(),
    "qtrain.export.execute": set(),
    "qtrain.export.lint": {"proof.reference"},
    "qtrain.export.foreign": {"execute", "folder.contents", "lint.ends"},
    "qtrain.export.compiler": {"foreign", "folder"},
    "qtrain.export.folder": {"compiler.boards", "foreign", "proof.beyond"},
    "qtrain.export.proof": {"execute", "lint", "foreign", "folder", "compiler"},
    "qtrain.experiments.comparison": set(),
    "qtrain.experiments.sensitivity": set(),
    "qtrain.experiments.sweep": {"sensitivity"},
    "qtrain.experiments.fit": {"sweep", "sensitivity"},
    "qtrain.experiments.paper": set(),
    "qtrain.report.comparison": set(),
    "qtrain.report.sweep": {"comparison"},
    "qtrain.report.fit": {"comparison", "sweep"},
    "qtrain.report.paper": {"comparison"},
    "qtrain.report.runs": set(),
    "qtrain.report.watch": {"runs"},
    "qtrain.training.methods": set(),
    "qtrain.training.captured": set(),
    "qtrain.training.loggers": set(),
}


def modules() -> dict[str, Path]:
    found = {}
    for path in sorted((ROOT / "qtrain").rglob("*.py")):
        found[".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")] = path
    for name, folder in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            inside = path.relative_to(ROOT / folder).with_suffix("").parts
            found[".".join((name, *inside)).removesuffix(".__init__")] = path
    return found


def imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in names if name.split(".")[0] == "qtrain"}


def package(name: str) -> str:
    known = [
        p
        for p in [
            *ALLOWED,
            *EVERYWHERE,
            "qtrain.cli",
            "qtrain.commands",
        ]
        if name == p or name.startswith(p + ".")
    ]
    return max(known, key=len, default="qtrain")


@pytest.mark.parametrize("name", sorted(ALLOWED))
def test_package_imports_only_what_lies_below_it(name: str) -> None:
    forbidden = {
        f"{module} imports {imported}"
        for module, path in modules().items()
        if package(module) == name
        for imported in imports(path)
        if package(imported) not in {name, *EVERYWHERE, *ALLOWED[name]}
    }
    assert not forbidden


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_room_imports_only_what_its_row_allows(room: str) -> None:
    above = room.rpartition(".")[0]
    others = {other for other in ROOMS if other.startswith(f"{above}.") and other != room}
    allowed = tuple(f"{above}.{name}" for name in ROOMS[room])
    forbidden = {
        f"{module} imports {imported}"
        for module, path in modules().items()
        if module == room or module.startswith(f"{room}.")
        for imported in imports(path)
        if any(imported == other or imported.startswith(f"{other}.") for other in others)
        and not any(imported == name or imported.startswith(f"{name}.") for name in allowed)
    }
    assert not forbidden


def test_every_room_is_guarded() -> None:
    rooms = {name for name, path in modules().items() if path.name == "__init__.py" and name.count(".") == 2}
    assert rooms == set(ROOMS)


def test_no_circle_between_files() -> None:
    """A topological order of the files exists; ``graphlib`` names a circle where it does not."""
    files = modules()
    graph = {name: {owner(imported, files) for imported in imports(path)} - {name} for name, path in files.items()}
    list(TopologicalSorter(graph).static_order())


def owner(imported: str, files: dict[str, Path]) -> str:
    """Return the file that an imported name lies in."""
    while imported not in files:
        imported = imported.rpartition(".")[0]
    return imported


def test_every_module_belongs_to_a_guarded_package() -> None:
    loose = {name for name in modules() if package(name) == "qtrain"}
    assert loose == {"qtrain"}


def test_the_guard_sees_a_forbidden_import(tmp_path: Path) -> None:
    source = tmp_path / "bad.py"
    source.write_text("def f():\n    from qtrain.training import train\n")
    assert {package(i) for i in imports(source)} == {"qtrain.training"}


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def packaging() -> dict:
    return project()["tool"]["setuptools"]


def test_the_extra_for_the_compiler_allows_what_make_finn_installs() -> None:
    lines = (ROOT / "constraints-finn.txt").read_text().splitlines()
    tested = {r.name: r for r in (Requirement(line) for line in lines if not line.startswith("#"))}
    alone = " ".join(str(tested.pop(name)) for name in ("finn-plus", "mip"))
    assert alone == ALONE
    extra = {r.name: r for r in map(Requirement, project()["project"]["optional-dependencies"]["finn"])}
    brought_by_these = {"pycparser", "pydantic_core", "typing-inspection"}
    assert set(extra) == set(tested) - brought_by_these
    for name, requirement in extra.items():
        for pin in tested[name].specifier:
            assert requirement.specifier.contains(pin.version)


def test_package_list_is_the_tree() -> None:
    on_disk = {"qtrain", *FOLDERS}
    on_disk |= {name for name, path in modules().items() if path.name == "__init__.py"}
    assert set(packaging()["packages"]) == on_disk


def test_type_checkers_find_models_and_export() -> None:
    for name, folder in FOLDERS.items():
        assert (ROOT / ".typings" / Path(*name.split("."))).resolve() == (ROOT / folder).resolve()


def test_wheel_holds_everything_and_imports_away_from_the_checkout(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(tmp_path),
        ".",
    ]
    source = tmp_path / "source"
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    files = subprocess.run(listing, cwd=ROOT, capture_output=True, check=True, text=True).stdout
    for name in filter(None, files.split("\0")):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    wheel = next(tmp_path.glob("*.whl"))
    names = set(zipfile.ZipFile(wheel).namelist())
    for module, path in modules().items():
        inside = module.replace(".", "/") + ("/__init__.py" if path.name == "__init__.py" else ".py")
        assert inside in names
    assert {f"qtrain/recipes/{p.name}" for p in (ROOT / "qtrain/recipes").glob("*.yaml")} <= names
    assert not [n for n in names if n.startswith(("tests/", "models/", "export/"))]

    # An environment of its own that sees this one's packages, but not the checkout.
    venv.create(tmp_path / "env", with_pip=False, symlinks=True)
    site = next((tmp_path / "env").glob("lib/python*/site-packages"))
    zipfile.ZipFile(wheel).extractall(site)
    outside = [p for p in sys.path if p.endswith("site-packages")]
    (site / "borrowed.pth").write_text("\n".join(outside))
    code = "import qtrain.models, qtrain.export.pipeline as p; from qtrain.recipe import default_recipe as d; "
    code += "print(qtrain.models.__file__, p.__file__, d('CNV_2W2A', 'digits').network)"
    run = subprocess.run(
        [str(tmp_path / "env/bin/python"), "-W", "ignore", "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    models, export, network = run.stdout.split()
    assert Path(models).is_relative_to(site)
    assert Path(export).is_relative_to(site)
    assert network == "CNV_2W2A"
