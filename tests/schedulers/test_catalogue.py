"""The catalogue of schedulers: every row can be made, none needs torch to be read, installed packages add theirs."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from matplotlib.colors import to_hex
from torch import nn

from qtrain.errors import UserError
from qtrain.recipe import Recipe, load_recipe
from qtrain.report.comparison import figures
from qtrain.report.comparison.page import write_report
from qtrain.report.comparison.read import read_comparison
from qtrain.report.statistics import tuned_numbers
from qtrain.schedulers.catalogue import SCHEDULERS, Scheduler, label_of, row_of
from qtrain.training.methods.make import make_method
from qtrain.training.methods.method import Method
from tests.installed_packages import install
from tests.report.comparison.report_data import RECIPE, Page, write_comparison
from tests.sampled import sampled

ROW = "from qtrain.schedulers.catalogue import Scheduler\nROW = Scheduler({})\n"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str, str], None]:
    """Return a function that installs a scheduler's package, which has the scheduler's name."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(site)

    def make(name: str, arguments: str, source: str = "") -> None:
        entry = f"[qtrain.schedulers]\n{name} = qtrain_{name}:ROW\n"
        install(site, f"qtrain-{name}", entry, {f"qtrain_{name}": ROW.format(arguments) + source})

    return make


def made(scheduler: str, **options: object) -> Method:
    recipe = Recipe("mine", "digits", epochs=4, lr=0.1, scheduler=scheduler, scheduler_options=options)
    return make_method(nn.Linear(2, 2), recipe, 3)


@pytest.mark.parametrize("name", SCHEDULERS.built_in)
def test_what_makes_a_scheduler_is_there(name: str) -> None:
    assert callable(SCHEDULERS.load(name, SCHEDULERS.get(name).make))


def test_recipes_and_the_catalogue_are_read_without_torch() -> None:
    code = "import sys, qtrain.recipe, qtrain.schedulers; from qtrain.schedulers.catalogue import SCHEDULERS; "
    code += "SCHEDULERS.rows(); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


@pytest.mark.parametrize(
    "first",
    sampled(
        ["qtrain.schedulers.parameter_groups", "qtrain.schedulers.aslr", "qtrain.schedulers"],
        ["qtrain.schedulers.aslr"],
    ),
)
def test_what_the_package_has_is_the_same_in_any_order_of_imports(first: str) -> None:
    code = f"import {first}; from qtrain import ASLR, layer_groups; from qtrain import schedulers; "
    code += "print(all(callable(getattr(schedulers, name)) for name in schedulers.__all__), schedulers.ASLR is ASLR)"
    run = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True)
    assert run.stdout == "True True\n", run.stderr


def test_the_package_has_nothing_else() -> None:
    from qtrain import schedulers

    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        schedulers.nonsense  # noqa: B018


def test_a_packages_schedule_trains_with_its_options(installed: Callable[..., None]) -> None:
    source = "def line(epoch, epochs, lr, low=0.0):\n    return low + (lr - low) * (1 - epoch / epochs)\n"
    installed("falling", "'qtrain_falling:line', 'schedule', 'rate_by_epoch', ('lr0', 'low'), label='Falling'", source)
    method = made("falling", low=0.02)
    rates = []
    for epoch in (0.0, 1.0, 1.5, 3.0):
        method.before_step(epoch)
        rates.append(method.rate())
    assert rates == pytest.approx([0.1, 0.08, 0.08, 0.04])
    assert tuned_numbers("falling", RECIPE) == ["lr0", "low"]
    assert label_of("falling") == "Falling"
    with pytest.raises(UserError, match="scheduler falling has no option high; it has low"):
        made("falling", high=1)
    with pytest.raises(UserError, match="falling's option low must be a number, but got 'a'"):
        made("falling", low="a")


def test_a_packages_method_trains_and_its_state_is_kept(installed: Callable[..., None]) -> None:
    source = """
def make(model, recipe, steps_per_epoch, *, factor=0.5):
    import torch
    from qtrain.training.methods.method import Method

    class Halving(Method):
        values = ("errors",)
        errors = 0.0

        def validated(self, error):
            self.errors += error
            for group in self.optimizer.param_groups:
                group["lr"] *= factor

    return Halving(torch.optim.SGD(model.parameters(), recipe.rate))
"""
    installed("halving", "'qtrain_halving:make', 'rival', reads_lr=True", source)
    method, other = made("halving", factor=0.1), made("halving")
    method.validated(0.25)
    assert method.rate() == pytest.approx(0.01)
    other.load_state_dict(method.state_dict())
    assert (other.rate(), other.state_dict()["errors"]) == (method.rate(), 0.25)


@pytest.mark.parametrize(
    ("name", "arguments", "source", "says"),
    [
        ("lost", "'qtrain_lost:nothing', 'rival'", "", r"cannot be loaded from qtrain_lost:nothing \(AttributeError: "),
        ("rowless", ", ".join(map(str, range(40))), "", r"cannot be loaded from qtrain_rowless:ROW \(TypeError: "),
        (
            "strange",
            "'a:b', 'cousin'",
            "",
            "cannot be loaded .*family must be one of aslr, schedule, line search, rival",
        ),
        ("odd", "'a:b', 'rival', 'rate'", "", "cannot be loaded .*kind must be one of method, rate_by_epoch, rate_by_"),
        ("reddish", "'a:b', 'rival', colour='red'", "", "cannot be loaded .*six hexadecimal digits .*but got 'red'"),
        ("starry", "'a:b', 'rival', marker='*'", "", r"cannot be loaded .*marker must be one of o s D .*but got '\*'"),
        ("number", "'qtrain_number:make', 'rival'", "make = 3", "names qtrain_number:make, which cannot be called"),
        (
            *("raising", "'qtrain_raising:make', 'rival'"),
            "def make(model, recipe, steps_per_epoch):\n    return 1 + 'a'\n",
            r"failed in qtrain_raising.py, line 4 \(TypeError: unsupported operand",
        ),
        (
            *("shapeless", "'qtrain_shapeless:make', 'rival'", "def make(model): return model"),
            r"failed in make.py, line \d+ \(TypeError: make\(\) takes 1 positional argument but 3 were given\)",
        ),
        (
            *("noisy", "'qtrain_noisy:rate', 'schedule', 'rate_by_step'"),
            "def rate(epoch, epochs, lr): return lr / epoch",
            r"failed in qtrain_noisy.py, line 3 \(ZeroDivisionError",
        ),
        (
            *("silent", "'qtrain_silent:rate', 'schedule', 'rate_by_step'", "def rate(epoch, epochs, lr): pass"),
            "must return a finite rate, 0 or more, but returned None at epoch 0",
        ),
        (
            *("floating", "'qtrain_floating:make', 'rival'", "def make(model, recipe, steps_per_epoch): return 0.5"),
            "must make a Method, but qtrain_floating:make made a float",
        ),
    ],
)
def test_a_broken_package_is_one_line_that_names_it(
    installed: Callable[..., None], name: str, arguments: str, source: str, says: str
) -> None:
    installed(name, arguments, source)
    with pytest.raises(UserError, match=f"^scheduler {name} of the package qtrain-{name} {says}") as error:
        made(name)
    assert "\n" not in str(error.value)


def test_a_packages_schedule_that_fails_on_the_way_is_one_line_too(installed: Callable[..., None]) -> None:
    source = "def rate(epoch, epochs, lr): return lr / (2 - epoch)"
    installed("halfway", "'qtrain_halfway:rate', 'schedule', 'rate_by_epoch'", source)
    method = made("halfway")
    method.before_step(1.0)
    with pytest.raises(
        UserError, match=r"^scheduler halfway of the package qtrain-halfway failed in qtrain_halfway.py"
    ):
        method.before_step(2.0)


@pytest.mark.parametrize("hook", ["before_step", "after_step", "validated"])
def test_a_packages_method_that_fails_around_a_step_is_one_line_too(installed: Callable[..., None], hook: str) -> None:
    source = f"""
def make(model, recipe, steps_per_epoch):
    import torch
    from qtrain.training.methods.method import Method

    class Failing(Method):
        def {hook}(self, value):
            raise KeyError("rate")

    return Failing(torch.optim.SGD(model.parameters(), recipe.rate))
"""
    installed(f"failing_{hook}", f"'qtrain_failing_{hook}:make', 'rival'", source)
    method = made(f"failing_{hook}")
    with pytest.raises(
        UserError, match=rf"^scheduler failing_{hook} of the package .* failed in .* \(KeyError: 'rate'\)"
    ):
        getattr(method, hook)(0.5)


def test_a_recipe_of_a_package_that_is_not_installed_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("network: CNV_1W1A\nscheduler: polynomial\n")
    with pytest.raises(UserError, match=r"recipe.yaml: scheduler must be one of aslr, .*, but got 'polynomial'"):
        load_recipe(tmp_path / "recipe.yaml")


def test_reports_show_what_is_not_installed_in_grey(tmp_path: Path) -> None:
    folder = write_comparison(tmp_path / "cmp", ("aslr", "multistep"))
    for path in folder.rglob("*.json*"):
        path.write_text(path.read_text().replace("multistep", "vanished"))
    for path in folder.glob("multistep-*"):
        path.rename(path.with_name(path.name.replace("multistep", "vanished")))
    data = read_comparison(folder)
    assert "vanished" in data.schedulers
    lines = {line.get_label(): line for line in figures.validation_accuracy(data).axes[0].lines}
    assert to_hex(lines["vanished"].get_color()) == row_of("vanished").colour == Scheduler("", "rival").colour
    page = Page(write_report(folder).read_text(encoding="utf-8"))
    assert any(row[0] == "vanished" for row in page.rows if row)


@pytest.mark.filterwarnings("error")
def test_reports_warn_once_of_what_is_broken(installed: Callable[..., None]) -> None:
    installed("shattered", "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11")
    with pytest.warns(UserWarning, match="^scheduler shattered of the package qtrain-shattered cannot be loaded"):
        assert row_of("shattered").label == ""
    assert label_of("shattered") == "shattered"


def test_the_command_line_knows_a_packages_scheduler(installed: Callable[..., None], cli: Callable) -> None:
    installed("constantly", "'qtrain.schedulers.schedules:constant', 'schedule', 'rate_by_epoch'")
    outcome = cli("train", "CNV_1W1A", "--scheduler", "constantly", "--print_config")
    assert outcome.status == 0
    assert "scheduler: constantly" in outcome.out
    refused = cli("train", "CNV_1W1A", "--scheduler", "constanly", "--print_config")
    assert (refused.status, refused.err.count("\n")) == (2, 1)
    assert "constantly, but got 'constanly'; did you mean constantly?" in refused.err
