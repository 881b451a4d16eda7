"""What mkdocs needs to make one site of this checkout; ``mkdocs.yml`` names this file as its hook.

- ``build/docs/qtrain`` shows the checkout as it is installed: ``models/`` and ``export/`` inside the package.
- ``results/README.md`` becomes the page ``results.md``, its figures with it.
- Pages link to files outside ``docs/``, as a git host shows them; the site has the page in their place, or the path.
- A page of the navigation that is not written yet is left out of it.
"""

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results"
LAYOUT = ROOT / "build" / "docs" / "qtrain"
PAGES = {"results/README.md": "results.md", "README.md": "index.md"}  # file outside docs/ -> page
_LINK = re.compile(r"\[([^\]]*)\]\((\.\./[^)#\s]+)(#[^)\s]*)?\)")
_IMAGE = re.compile(r"!\[[^\]]*\]\(([^)\s]+\.png)\)")


def on_startup(command: str, dirty: bool) -> None:
    """Lay the package out; mkdocstrings reads it and imports nothing."""
    LAYOUT.mkdir(parents=True, exist_ok=True)
    wanted = {path.name: path for path in (ROOT / "qtrain").iterdir()}
    wanted |= {name: ROOT / name for name in ("models", "export")}
    for link in LAYOUT.iterdir():
        if wanted.get(link.name) != link.readlink():
            link.unlink()
    for name, path in wanted.items():
        if not (LAYOUT / name).is_symlink():
            (LAYOUT / name).symlink_to(path)


def on_config(config: Any) -> Any:
    """Leave out of the navigation what is not written yet."""
    written = {path.relative_to(config.docs_dir).as_posix() for path in Path(config.docs_dir).rglob("*.md")}
    config.nav = _existing(config.nav, written | set(PAGES.values()))
    return config


def _existing(entry: Any, written: set[str]) -> Any:
    """The part of a navigation's entry that there are pages for."""
    if isinstance(entry, str):
        return entry if entry in written else None
    if isinstance(entry, dict):
        kept = {title: found for title, below in entry.items() if (found := _existing(below, written))}
        return kept or None
    return [found for below in entry if (found := _existing(below, written))]


def on_files(files: Files, config: Any) -> Files:
    """Add the results' page and figures."""
    text = (RESULTS / "README.md").read_text()
    files.append(File.generated(config, "results.md", content=text.replace("](../docs/", "](")))
    for image in _IMAGE.findall(text):
        files.append(File.generated(config, image, abs_src_path=str(RESULTS / image)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Turn links that lead out of ``docs/`` into links to the page that stands for the file, or into its path."""
    folder = (Path(config.docs_dir) / page.file.src_uri).parent

    def inside(match: re.Match[str]) -> str:
        text, target, anchor = match.groups()
        file = (folder / target).resolve()
        if file.is_relative_to(config.docs_dir):
            return match[0]
        if not file.exists():
            raise SystemExit(f"docs/{page.file.src_uri} links to {target}, which does not exist")
        name = file.relative_to(ROOT).as_posix()
        if name in PAGES:
            up = "../" * page.file.src_uri.count("/")
            return f"[{text}]({up}{PAGES[name]}{anchor or ''})"
        return f"`{name}`" if name.endswith(text) else f"{text} (`{name}`)"

    return _LINK.sub(inside, markdown)
