"""How an extra of qtrain is installed while no index has the package: from where qtrain itself came."""

import importlib.metadata
import json
import shlex
from pathlib import Path
from urllib.parse import unquote, urlparse

from qtrain import __version__

ROOT = Path(__file__).parents[1]


def checkout() -> Path | None:
    """Return the checkout that this package lies in; None where it was installed from a wheel."""
    return ROOT if (ROOT / "pyproject.toml").is_file() and (ROOT / "constraints.txt").is_file() else None


def install_line(extra: str) -> str:
    """Return the command that installs an extra, to be typed in any folder."""
    if root := checkout():
        return f"pip install -c {shlex.quote(str(root / 'constraints.txt'))} -e {shlex.quote(f'{root}[{extra}]')}"
    return f"pip install {shlex.quote(f'{_wheel()}[{extra}]')}"


def _wheel() -> str:
    """Return the wheel that was installed, with its folder where pip wrote that down."""
    try:
        origin = importlib.metadata.distribution("qtrain").read_text("direct_url.json")
    except importlib.metadata.PackageNotFoundError:
        origin = None
    path = unquote(urlparse(json.loads(origin)["url"]).path) if origin else ""
    return path if path.endswith(".whl") else f"qtrain-{__version__}-py3-none-any.whl"
