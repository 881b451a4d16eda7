"""A page in a real browser: Chromium without a window, from file://, all logged, and what every page must keep to."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.conftest import absent

SIZE: Any = {"width": 1360, "height": 1100}
NARROW: Any = {"width": 400, "height": 800}

# Texts whose contrast with what lies behind them is below 4.5, as [text, contrast].
_CONTRAST = """() => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  const luminance = (rgb) => rgb.slice(0, 3).map((v) => linear(v / 255))
    .reduce((sum, v, i) => sum + [0.2126, 0.7152, 0.0722][i] * v, 0);
  const behind = (node) => {
    for (; node; node = node.parentElement) {
      const back = parse(getComputedStyle(node).backgroundColor);
      if (back.length < 4 || back[3] === 1) return back;
      if (back[3] > 0) return [NaN];
    }
    return [255, 255, 255];
  };
  const faults = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let count = 0;
  for (let text = walker.nextNode(); text; text = walker.nextNode()) {
    const node = text.parentElement, style = getComputedStyle(node);
    if (!text.data.trim() || node.closest("script, noscript, style, [hidden]")) continue;
    if (style.visibility === "hidden" || !node.getClientRects().length) continue;
    const ink = parse(node.closest("svg") ? style.fill : style.color);
    const [low, high] = [luminance(ink), luminance(behind(node))].sort((a, b) => a - b);
    const found = (high + 0.05) / (low + 0.05);
    count += 1;
    if (!(found >= 4.5)) faults.push([text.data.trim(), found]);
  }
  return [count, faults];
}"""
# What reaches beyond the window sideways and is not within what scrolls.
_OVERFLOW = """() => {
  const beyond = (e) => e.getClientRects().length && e.getBoundingClientRect().right > innerWidth + 0.5;
  const all = [...document.querySelectorAll("main *")].filter((e) => !e.parentElement.closest(".scroll, svg"));
  const found = all.filter(beyond).map((e) => `${e.tagName} ${e.id} ${e.className}`);
  return [document.documentElement.scrollWidth - innerWidth, found];
}"""
# Words of a plot that its edge cuts off, and words of it that lie on each other.
_CUT = """() => {
  const found = [];
  for (const plot of document.querySelectorAll(".js-plotly-plot")) {
    const frame = plot.getBoundingClientRect();
    const all = [...plot.querySelectorAll(".annotation-text, .xtitle, .ytitle, .gtitle, .ytick text")]
      .filter((e) => e.getClientRects().length).map((e) => [e.textContent, e.getBoundingClientRect()]);
    for (const [text, box] of all)
      if (box.left < frame.left - 1 || box.right > frame.right + 1 || box.top < frame.top - 1)
        found.push(`${plot.id}: ${text} is cut`);
    const notes = [...plot.querySelectorAll(".annotation-text")].map((e) => [e.textContent, e.getBoundingClientRect()]);
    notes.forEach(([text, a], i) => notes.slice(i + 1).forEach(([other, b]) => {
      if (a.left < b.right && b.left < a.right && a.top < b.bottom - 2 && b.top < a.bottom - 2)
        found.push(`${plot.id}: ${text} lies on ${other}`);
    }));
  }
  return found;
}"""
# Places, in the order of the page, of all that a user can act on.
_CONTROLS = """() => {
  const all = [...document.querySelectorAll("*")];
  const radios = "input:not([type=radio]), input[type=radio]:checked";
  return [...document.querySelectorAll(`button, select, summary, a[href], ${radios}`)]
    .filter((e) => e.checkVisibility() && !e.disabled).map((e) => all.indexOf(e));
}"""


@dataclass
class Opened:
    """An open page, and what the browser complained of or asked for."""

    page: Any
    path: Path
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def close(self) -> None:
        """Close the page; it must have asked for nothing but itself, and complained of nothing."""
        self.page.close()
        assert self.errors == []
        assert self.requests == [self.path.as_uri()]

    def traces(self, plot: str) -> list[dict[str, Any]]:
        """Return name and values of all that plotly draws in a plot."""
        script = "(id) => document.getElementById(id).data.map((t) => ({name: t.name, x: t.x, y: t.y}))"
        return self.page.evaluate(script, plot)  # type: ignore[no-any-return]

    def trace(self, plot: str, name: str) -> dict[str, Any]:
        """Return what plotly draws under a name, empty where there is nothing."""
        return next((trace for trace in self.traces(plot) if trace["name"] == name), {})

    def hover(self, plot: str, name: str, point: int) -> str:
        """Move the mouse to a point of a trace; return what appears there."""
        script = """([id, name, point]) => {
          const plot = document.getElementById(id), trace = plot.data.find((t) => t.name === name);
          plot.scrollIntoView({block: "center"});
          const box = plot.getBoundingClientRect(), {xaxis, yaxis} = plot._fullLayout;
          return [box.x + xaxis._offset + xaxis.d2p(trace.x[point]), box.y + yaxis._offset + yaxis.d2p(trace.y[point])];
        }"""
        self.page.mouse.move(1, 1)
        x, y = self.page.evaluate(script, [plot, name, point])
        self.page.mouse.move(x, y)
        self.page.wait_for_selector(f"#{plot} .hovertext")
        return str(self.page.locator(f"#{plot} .hovertext").first.text_content())


def start_browser() -> Iterator[Any]:
    """Start Chromium; skip without it."""
    chromium = shutil.which("chromium")
    if chromium is None:
        absent("chromium", "apt-get install chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        absent("chromium", "pip install playwright")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield started
        started.close()


def open_page(browser: Any, path: Path, size: Any = SIZE, scheme: str = "light") -> Opened:
    """Open a page as a screen of this size and these colours shows it."""
    page = browser.new_page(viewport=size, color_scheme=scheme)
    found = Opened(page, path)
    page.on("console", lambda message: found.errors.append(message.text))
    page.on("pageerror", lambda error: found.errors.append(str(error)))
    page.on("request", lambda request: found.requests.append(request.url))
    page.goto(path.as_uri())
    page.wait_for_selector(".main-svg")
    return found


@contextmanager
def opened_page(browser: Any, path: Path, size: Any = SIZE, scheme: str = "light") -> Iterator[Opened]:
    """Open a page for a while."""
    found = open_page(browser, path, size, scheme)
    yield found
    found.close()


def check_readable(page: Any) -> None:
    """See that every text can be read, and that nothing reaches beyond the window or its plot."""
    count, faults = page.evaluate(_CONTRAST)
    assert count > 100
    assert faults == []
    assert page.evaluate(_CUT) == []
    assert page.evaluate(_OVERFLOW) == [0, []]


def check_keyboard(page: Any) -> list[str]:
    """Press Tab through the page; return what was reached, in that order, which must be the page's own and visible."""
    script = """() => {
      const node = document.activeElement;
      if (node === document.body) return null;
      const all = [...document.querySelectorAll("*")];
      return [all.indexOf(node), getComputedStyle(node).outlineStyle, node.id || node.value || node.textContent.trim()];
    }"""
    page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
    page.focus("#theme")
    page.keyboard.press("Shift+Tab")
    reached: list[tuple[int, str]] = []
    for _ in range(400):
        page.keyboard.press("Tab")
        found = page.evaluate(script)
        if found is None or (reached and found[0] <= reached[-1][0]):
            break
        assert found[1] == "solid", f"no focus to be seen on {found[2]}"
        reached.append((found[0], found[2]))
    wanted = page.evaluate(_CONTROLS)
    assert set(wanted) <= {place for place, _ in reached}
    return [text for _, text in reached]
