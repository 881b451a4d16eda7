"""How an extra is installed while no index has the package: in the checkout, and from the wheel that it came from."""

import json
import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest

from qtrain import __version__, extras


def test_in_the_checkout_the_line_names_it_from_any_folder() -> None:
    root = Path(__file__).parents[1]
    words = shlex.split(extras.install_line("ray"))
    assert words == ["pip", "install", "-c", str(root / "constraints.txt"), "-e", f"{root}[ray]"]


@pytest.mark.parametrize(
    ("origin", "named"),
    [
        ("file:///some%20where/qtrain-0.1.0-py3-none-any.whl", "/some where/qtrain-0.1.0-py3-none-any.whl[search]"),
        ("file:///home/me/qtrain", f"qtrain-{__version__}-py3-none-any.whl[search]"),
        (None, f"qtrain-{__version__}-py3-none-any.whl[search]"),
    ],
)
def test_without_a_checkout_it_names_the_wheel(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, origin: str | None, named: str
) -> None:
    monkeypatch.setattr(extras, "ROOT", tmp_path)
    said = json.dumps({"url": origin}) if origin else None
    found = SimpleNamespace(read_text=lambda name: said if name == "direct_url.json" else None)
    monkeypatch.setattr(extras.importlib.metadata, "distribution", lambda _: found)
    assert shlex.split(extras.install_line("search")) == ["pip", "install", named]
