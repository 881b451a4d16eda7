"""A table that installed packages extend: nothing is imported too early, and what is broken is one clear line."""

import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qtrain.errors import UserError
from qtrain.plugins import Registry
from tests.installed_packages import install

GROUP = "qtrain.fruits"
pytestmark = pytest.mark.filterwarnings("error:fruit")  # outside of pytest.warns none may come, and none twice


@pytest.fixture
def fruits() -> Registry[str]:
    return Registry("fruit", GROUP, str, {"apple": "red", "pear": "green"})


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that installs a package whose one module has the package's name."""
    monkeypatch.syspath_prepend(tmp_path)

    def make(package: str, source: str, *entries: str) -> None:
        module = package.replace("-", "_")
        install(tmp_path, package, f"[{GROUP}]\n" + "\n".join(entries), {module: source})
        monkeypatch.delitem(sys.modules, module, raising=False)

    return make


def test_a_package_adds_a_row_and_nothing_is_imported_before_it_is_asked_for(
    fruits: Registry[str], installed: Callable[..., None]
) -> None:
    installed("fruit-plum", "COLOUR = 'blue'", "plum = fruit_plum:COLOUR")
    assert fruits.names() == ("apple", "pear", "plum")
    fruits.check("plum")
    assert (fruits.get("apple"), fruits.find("pear"), fruits.find("fig")) == ("red", "green", None)
    assert "fruit_plum" not in sys.modules
    assert fruits.get("plum") == fruits.find("plum") == "blue"
    assert fruits.rows() == {"apple": "red", "pear": "green", "plum": "blue"}
    assert (fruits.origin("apple"), fruits.origin("plum")) == ("fruit apple", "fruit plum of the package fruit-plum")


def test_a_package_that_is_installed_later_is_found(fruits: Registry[str], installed: Callable[..., None]) -> None:
    with pytest.raises(UserError):
        fruits.check("plum")
    installed("fruit-later", "COLOUR = 'blue'", "plum = fruit_later:COLOUR")
    assert fruits.get("plum") == "blue"


def test_it_is_said_who_has_a_row_without_an_import(fruits: Registry[str], installed: Callable[..., None]) -> None:
    installed("fruit-shy", "COLOUR = 'blue'", "plum = fruit_shy:COLOUR")
    assert [name in fruits for name in ("apple", "plum", "fig", 3, ["apple"])] == [True, True, False, False, False]
    assert "fruit_shy" not in sys.modules


@pytest.mark.parametrize(
    ("given", "says"), [("APPLE", "; did you mean apple?"), ("pears", "; did you mean pear?"), ("x", ""), (None, "")]
)
def test_the_closest_name_is_found_in_any_case(fruits: Registry[str], given: object, says: str) -> None:
    assert fruits.hint(given) == says


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("appel", "fruit must be one of apple, pear, plum, but got 'appel'; did you mean apple?"),
        ("plumb", "fruit must be one of apple, pear, plum, but got 'plumb'; did you mean plum?"),
        ("zzz", "fruit must be one of apple, pear, plum, but got 'zzz'"),
        (3, "fruit must be one of apple, pear, plum, but got 3"),
        (["apple"], "fruit must be one of apple, pear, plum, but got ['apple']"),
    ],
)
def test_an_unknown_name_is_refused_with_the_closest_and_all_there_are(
    fruits: Registry[str], installed: Callable[..., None], name: object, says: str
) -> None:
    installed("fruit-names", "COLOUR = 'blue'", "plum = fruit_names:COLOUR")
    with pytest.raises(UserError) as error:
        fruits.check(name)
    assert str(error.value) == says


BROKEN = [
    ("1 / 0", "plum = fruit_broken:COLOUR", "from fruit_broken:COLOUR (ZeroDivisionError: division by zero)"),
    ("import no_such_module", "plum = fruit_broken:COLOUR", "No module named 'no_such_module'"),
    ("raise ImportError('two\\nlines')", "plum = fruit_broken:COLOUR", "(ImportError: two lines)"),
    ("", "plum = fruit_broken:COLOUR", "module 'fruit_broken' has no attribute 'COLOUR'"),
    ("", "plum = no_such_module:COLOUR", "No module named 'no_such_module'"),
    ("", "plum = no module at all", "cannot be loaded from no module at all"),
    ("import sys; sys.exit('stop')", "plum = fruit_broken:COLOUR", "from fruit_broken:COLOUR (SystemExit: stop)"),
    ("def broken(:", "plum = fruit_broken:COLOUR", "SyntaxError"),
    ("COLOUR = 3", "plum = fruit_broken:COLOUR", "must be a builtins.str, but fruit_broken:COLOUR is of type int"),
]


@pytest.mark.parametrize(("source", "entry", "says"), BROKEN)
def test_a_broken_row_is_one_line_that_names_its_package(
    fruits: Registry[str], installed: Callable[..., None], source: str, entry: str, says: str
) -> None:
    installed("fruit-broken", source, entry)
    fruits.check("plum")
    for _ in range(2):
        with pytest.raises(UserError) as error:
            fruits.get("plum")
        line = str(error.value)
        assert line.startswith("fruit plum of the package fruit-broken ")
        assert says in line
        assert "\n" not in line


def test_a_broken_row_that_nobody_asked_for_is_warned_of_once(
    fruits: Registry[str], installed: Callable[..., None]
) -> None:
    installed("fruit-rotten", "1 / 0", "plum = fruit_rotten:COLOUR")
    with pytest.warns(UserWarning, match=r"^fruit plum of the package fruit-rotten cannot be loaded") as warned:
        assert fruits.find("plum") is None
    assert fruits.rows() == {"apple": "red", "pear": "green"}
    text = warnings.formatwarning(warned[0].message, UserWarning, warned[0].filename, warned[0].lineno)
    assert text.count("\n") == 1


def test_a_built_in_row_stays_where_a_package_takes_its_name(
    fruits: Registry[str], installed: Callable[..., None]
) -> None:
    installed("fruit-thief", "COLOUR = 'gold'", "apple = fruit_thief:COLOUR")
    assert fruits.get("apple") == "red"
    other = Registry("fruit", GROUP, str, fruits.built_in)
    says = r"^fruit apple of the package fruit-thief is not used: qtrain has its own of this name$"
    with pytest.warns(UserWarning, match=says):
        assert fruits.names() == ("apple", "pear")
    assert fruits.rows() == {"apple": "red", "pear": "green"}
    with pytest.warns(UserWarning, match=says):
        assert other.load("apple", "math:sqrt")(9.0) == 3
    assert "fruit_thief" not in sys.modules


def test_a_name_that_two_packages_have_is_neithers(fruits: Registry[str], installed: Callable[..., None]) -> None:
    for package in ("fruit-one", "fruit-two"):
        installed(package, "COLOUR = 'blue'", f"plum = {package.replace('-', '_')}:COLOUR")
    says = r"^fruit plum is in several installed packages \(fruit-..., fruit-...\); uninstall all but one of them$"
    for ask in (fruits.check, fruits.get):
        with pytest.raises(UserError, match=says):
            ask("plum")
    with pytest.warns(UserWarning, match=says):
        assert fruits.names() == ("apple", "pear")
    assert fruits.find("plum") is None


def test_what_a_row_refers_to_is_imported_when_it_is_needed(
    fruits: Registry[str], installed: Callable[..., None]
) -> None:
    installed("fruit-where", "COLOUR = 'math:no_such_name'", "plum = fruit_where:COLOUR")
    assert fruits.load("apple", "math:sqrt")(9.0) == 3
    with pytest.raises(UserError, match=r"^fruit plum of the package fruit-where cannot be loaded from math:no_such"):
        fruits.load("plum", fruits.get("plum"))
    with pytest.raises(AttributeError):  # qtrain's own fault is no user's error
        fruits.load("apple", "math:no_such_name")


def test_a_packages_code_that_fails_is_one_line_that_says_where(
    fruits: Registry[str], installed: Callable[..., None]
) -> None:
    installed("fruit-sour", "def COLOUR():\n    return 1 / 0\n", "plum = fruit_sour:COLOUR")
    calls: Registry[object] = Registry("fruit", GROUP, object, fruits.built_in)
    call: Any = calls.get("plum")
    says = r"^fruit plum of the package fruit-sour failed in fruit_sour.py, line 2 \(ZeroDivisionError: division by"
    with pytest.raises(UserError, match=says) as error, calls.blaming("plum"):
        call()
    assert "\n" not in str(error.value)
    assert isinstance(error.value.__cause__, ZeroDivisionError)


def test_only_a_packages_code_is_blamed_and_an_error_of_a_user_passes(fruits: Registry[str]) -> None:
    with pytest.raises(ZeroDivisionError), fruits.blaming("apple"):
        1 / 0  # noqa: B018
    with pytest.raises(UserError, match=r"^mine$"), fruits.blaming("plum"):
        raise UserError("mine")
    with pytest.raises(KeyboardInterrupt), fruits.blaming("plum"):
        raise KeyboardInterrupt


def test_a_name_of_another_form_is_not_used(installed: Callable[..., None]) -> None:
    fruits = Registry("fruit", GROUP, str, {"APPLE": "red"}, naming=("[A-Z]+", "capitals as in APPLE"))
    installed("fruit-small", "COLOUR = 'blue'", "plum = fruit_small:COLOUR")
    says = "^fruit plum of the package fruit-small is not used: its name must be capitals as in APPLE$"
    with pytest.warns(UserWarning, match=says):
        assert fruits.names() == ("APPLE",)
    with pytest.raises(UserError, match=says):
        fruits.get("plum")
