"""How pages and pictures are made and written."""

import io
import json
import math
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
from markupsafe import Markup

if TYPE_CHECKING:
    from matplotlib.figure import Figure

from qtrain.errors import UserError
from qtrain.records.files import write_whole
from qtrain.report.colours import THEME, Pair

_DPI = 160


def fill_page(name: str, colours: dict[str, Pair], **values: Any) -> str:
    """Fill one of the templates beside this file; the stylesheet and the script that all pages share come along.

    Args:
        name: its file.
        colours: of its own by CSS variable, each on a light and on a dark screen.
        values: all else that it shows; a missing one is an error.
    """
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_read),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["script"] = lambda file: Markup(_read(file))
    page = environment.get_template(name).render(colours=THEME | colours, **values)
    return page.encode("utf-8", "backslashreplace").decode()  # names of files need be no characters


def _read(file: str) -> str:
    return (resources.files("qtrain.report") / file).read_text(encoding="utf-8")


def plotly() -> Markup:
    """Return plotly's script, which draws the plots of a page.

    Raises:
        UserError: it is not installed.
    """
    try:
        from plotly.offline import get_plotlyjs
    except ImportError:
        raise UserError("a page with plots needs plotly, which is not installed; pip install plotly") from None
    return Markup(get_plotlyjs())


def script_json(values: Any) -> Markup:
    """Return JSON that may stand in a script element: no ``<``, so no end of it, and no NaN, which is no JSON."""
    text = json.dumps(_finite(values), allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c"))


def _finite(value: Any) -> Any:
    """Return a value with None in the place of every number that is not finite."""
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def png_of(figure: "Figure") -> bytes:
    """Return a figure as the bytes of a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI)
    return buffer.getvalue()


def write_drawing(figure: "Figure", path: Path, dpi: int) -> None:
    """Write a figure, whole or not at all, as the kind of file that its suffix says."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=path.suffix[1:].lower(), dpi=dpi)
    write_whole(path, buffer.getvalue())
