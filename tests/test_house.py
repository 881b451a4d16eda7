"""The layout: who imports whom, what is packaged, and that the wheel works away from the checkout."""

import ast
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from qtrain.export.compiler import INSTALL

ROOT = Path(__file__).parents[1]
FOLDERS = {"qtrain.models": "models", "qtrain.export": "export"}

# Package -> what of qtrain it may import besides itself; errors and files may be imported by all.
ALLOWED: dict[str, set[str]] = {
    "qtrain.models": set(),
    "qtrain.export": set(),
    "qtrain.module_state": set(),
    "qtrain.schedulers": {"qtrain.module_state"},
    "qtrain.optimizers": {"qtrain.module_state"},
    "qtrain.data": set(),
    "qtrain.report.statistics": set(),
    # Figures 3 and 4 are drawn by running ASLR itself
    "qtrain.report": {"qtrain.report.statistics", "qtrain.schedulers"},
    "qtrain.recipe": set(),
    "qtrain.recipes": set(),
    "qtrain.training": {
        "qtrain",
        "qtrain.module_state",
        "qtrain.schedulers",
        "qtrain.optimizers",
        "qtrain.data",
        "qtrain.recipe",
    },
    "qtrain.experiments": {
        *("qtrain.training", "qtrain.schedulers", "qtrain.models", "qtrain.export", "qtrain.data", "qtrain.recipe"),
        "qtrain",  # the version, which every node of a cluster must have
        "qtrain.report.statistics",  # what a comparison is judged by is what its report shows
    },
}


def modules() -> dict[str, Path]:
    found = {}
    for path in sorted((ROOT / "qtrain").rglob("*.py")):
        found[".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")] = path
    for name, folder in FOLDERS.items():
        for path in sorted((ROOT / folder).glob("*.py")):
            found[f"{name}.{path.stem}".removesuffix(".__init__")] = path
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
            "qtrain.errors",
            "qtrain.files",
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
        if package(imported) not in {name, "qtrain.errors", "qtrain.files", *ALLOWED[name]}
    }
    assert not forbidden


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
    assert f"`pip install --no-deps {alone}`" in INSTALL
    extra = {r.name: r for r in map(Requirement, project()["project"]["optional-dependencies"]["finn"])}
    brought_by_these = {"pycparser", "pydantic_core", "typing-inspection"}
    assert set(extra) == set(tested) - brought_by_these
    for name, requirement in extra.items():
        for pin in tested[name].specifier:
            assert requirement.specifier.contains(pin.version)


def test_package_list_is_the_tree() -> None:
    on_disk = {"qtrain", *FOLDERS}
    on_disk |= {f"qtrain.{p.parent.name}" for p in (ROOT / "qtrain").glob("*/__init__.py")}
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
