"""How pages and pictures are made and written."""

import io
from importlib import resources
from typing import TYPE_CHECKING, Any

import jinja2

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DPI = 160


def fill_page(name: str, **values: Any) -> str:
    """Fill one of the templates beside this file.

    Args:
        name: its file.
        values: all that it shows; a missing one is an error.
    """

    def source(file: str) -> str:
        return (resources.files("qtrain.report") / file).read_text(encoding="utf-8")

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(source),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name).render(**values)


def png_of(figure: "Figure") -> bytes:
    """Return a figure as the bytes of a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI)
    return buffer.getvalue()
