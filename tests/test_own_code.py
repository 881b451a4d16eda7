"""Code of one's own: how it is named, imported and called, and what is said where that fails."""

import sys
from pathlib import Path

import pytest

from qtrain.errors import UserError
from qtrain.own_code import (
    Reference,
    argument_names,
    call_with,
    checksum,
    load_reference,
    parse_reference,
    required_arguments,
    source_of,
)

CODE = """
import helper_beside_it

value = 3


class Outer:
    class Inner:
        name = helper_beside_it.NAME


def needs(a, b=2, *rest, c, **more):
    return a, b, c


def plain(a=1):
    return a


def exits():
    raise SystemExit("too early")
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "helper_beside_it.py").write_text("NAME = 'inner'\n")
    (tmp_path / "deep" / "some_code.py").write_text(CODE)
    return tmp_path


def test_a_file_is_imported_once_with_what_lies_beside_it(place: Path) -> None:
    reference = parse_reference("deep/some_code.py:Outer.Inner", "x")
    assert reference == Reference("deep/some_code.py", "Outer.Inner")
    inner = load_reference(reference)
    assert inner.name == "inner"
    assert load_reference(reference) is inner
    assert source_of(reference) == Path("deep/some_code.py")
    assert checksum(Path("deep/some_code.py")) == checksum(place / "deep" / "some_code.py")


def test_a_module_is_found_in_the_current_folder_and_its_source_without_executing_it(place: Path) -> None:
    (place / "own_module_7.py").write_text("import pathlib\npathlib.Path('executed').touch()\nvalue = 5\n")
    reference = parse_reference("own_module_7:value", "x")
    assert source_of(reference) == place / "own_module_7.py"
    assert not (place / "executed").exists()
    assert load_reference(reference) == 5
    assert (place / "executed").exists()
    assert sys.modules.pop("own_module_7")


@pytest.mark.parametrize("text", ["Net", ":Net", "my_module:", "my module:Net", "a/b:Net", "m:2"])
def test_other_forms_are_refused(text: str) -> None:
    with pytest.raises(
        UserError, match=r"names no code of yours; write my_module:MyNet for MyNet in my_module.py here"
    ):
        parse_reference(text, "MyNet")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("not_there_at_all:Net", r"cannot import not_there_at_all from .* \(ModuleNotFoundError: No module"),
        ("not_there.py:Net", r"not_there.py does not exist; name a .py file"),
        ("broken.py:Net", r"cannot import broken.py \(SyntaxError: "),
        ("leaves.py:Net", r"cannot import leaves.py \(SystemExit: 3\); mend it"),
        ("deep/some_code.py:Nothing", r"deep/some_code.py has no Nothing, but more$"),
    ],
)
def test_what_cannot_be_imported_is_one_line(place: Path, text: str, says: str) -> None:
    (place / "broken.py").write_text("def f(:\n")
    (place / "leaves.py").write_text("raise SystemExit(3)\n")
    with pytest.raises(UserError, match=says) as error:
        load_reference(parse_reference(text, "x"), lambda module: ", but more")
    assert "\n" not in str(error.value)


def test_a_call_gets_what_its_signature_has_names_for(place: Path) -> None:
    needs = load_reference(parse_reference("deep/some_code.py:needs", "x"))
    plain = load_reference(parse_reference("deep/some_code.py:plain", "x"))
    reference = Reference("m", "f")
    assert argument_names(plain) == {"a"}
    assert argument_names(needs) is None
    assert required_arguments(needs) == ["a", "c"]
    assert call_with(reference, plain, {"a": 4, "z": 5}, "do so") == 4
    assert call_with(reference, needs, {"a": 4, "c": 5}, "do so") == (4, 2, 5)
    with pytest.raises(UserError, match=r"^m:f needs arguments \(c\); do so$"):
        call_with(reference, needs, {"a": 4}, "do so")
    exits = load_reference(parse_reference("deep/some_code.py:exits", "x"))
    with pytest.raises(UserError, match=r"^m:f fails when it is called \(SystemExit: too early\); mend it$"):
        call_with(reference, exits, {}, "do so")
