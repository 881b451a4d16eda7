// What every page does alike: colours, plots, tables that sort, commands that copy.
"use strict";
const byId = (id) => document.getElementById(id);
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const known = (value) => value !== null && value !== undefined;
const checked = (selector) => [...document.querySelectorAll(`${selector} input:checked`)].map((box) => box.value);
const escaped = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;");

// an element with its attributes and children; texts are never read as markup
function make(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name === "onclick") node.onclick = value;
    else if (value !== false) node.setAttribute(name, value);
  }
  node.append(...children.filter(known));
  return node;
}

// Numbers

const scales = { k: 1e3, M: 1e6, G: 1e9, T: 1e12 };

function short(value) {
  for (const [unit, scale] of Object.entries(scales).reverse()) {
    if (Math.abs(value) >= 0.9995 * scale) return +(value / scale).toPrecision(3) + unit;
  }
  return String(+value.toPrecision(3));
}
const whole = (value) => Math.round(value).toLocaleString("en");
const percent = (value) => (known(value) ? value.toFixed(2) + " %" : "–");
const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

// standard deviation of a sample; null where there is a single value
function deviation(values) {
  if (values.length < 2) return null;
  const middle = mean(values);
  return Math.sqrt(values.reduce((sum, value) => sum + (value - middle) ** 2, 0) / (values.length - 1));
}

// Colours: the screen's own until the switch is used

const screenDark = matchMedia("(prefers-color-scheme: dark)");
const redraws = [];  // what a page draws in colours
const redraw = () => redraws.forEach((draw) => draw());
const root = document.documentElement;

function isDark() {
  return root.dataset.theme ? root.dataset.theme === "dark" : screenDark.matches;
}

function showTheme() {
  byId("theme").setAttribute("aria-pressed", isDark());
  redraw();
}

function setTheme(theme) {
  if (theme) root.dataset.theme = theme;
  else delete root.dataset.theme;
  showTheme();
}

byId("theme").hidden = false;
byId("theme").onclick = () => {
  setTheme(isDark() ? "light" : "dark");
  try {
    localStorage.setItem("qtrain-theme", root.dataset.theme);
  } catch { /* then it lasts as long as the page */ }
};
screenDark.addEventListener("change", showTheme);
let beforePrint;
addEventListener("beforeprint", () => {
  beforePrint = root.dataset.theme;
  setTheme("light");
});
addEventListener("afterprint", () => setTheme(beforePrint));

const channels = (colour) => [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16));

function mixed(low, high, share) {
  const to = channels(high);
  const found = channels(low).map((value, i) => Math.round(value + share * (to[i] - value)));
  return "#" + found.map((value) => value.toString(16).padStart(2, "0")).join("");
}

// black or white, whichever can be read better on a colour
function inkOn(colour) {
  const linear = (value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
  const [red, green, blue] = channels(colour).map((value) => linear(value / 255));
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.179 ? "#000000" : "#ffffff";
}

// Plots

function layout(more) {
  const ink = css("--ink"), line = css("--line"), edge = css("--edge"), clear = "rgba(0,0,0,0)";
  const ticks = { ticks: "outside", tickcolor: line, automargin: true };
  const axis = { gridcolor: line, linecolor: edge, zeroline: false, ...ticks };
  return {
    paper_bgcolor: clear, plot_bgcolor: clear, showlegend: false, hovermode: "closest",
    font: { color: ink, size: 13, family: "system-ui, sans-serif" },
    hoverlabel: { bgcolor: css("--card"), bordercolor: edge, font: { color: ink }, align: "left" },
    dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",  // a finger scrolls the page
    ...more, xaxis: { ...axis, ...more.xaxis }, yaxis: { ...axis, ...more.yaxis },
  };
}

// text: what is to be seen, for who does not see it
function draw(id, traces, more, text) {
  if (text) byId(id).setAttribute("aria-label", text);
  byId(id).style.height = `${more.height}px`;
  return Plotly.react(id, traces, layout(more), { displayModeBar: false, responsive: true });
}

// 1, 2 and 5 of every decade; plotly's own small digits say no size
function logTicks(values) {
  const spots = [], last = Math.log10(Math.max(...values)) + 1;
  for (let decade = Math.floor(Math.log10(Math.min(...values))) - 1; decade <= last; decade++) {
    spots.push(...[1, 2, 5].map((digit) => digit * 10 ** decade));
  }
  return { type: "log", tickvals: spots, ticktext: spots.map(short) };
}

// Names beside points, none over another or over a point; one without room is left out, its hover text has it.
// names: [{x, y, text, first}], first: the side to try first, "left" or "right"; points: [{x, y}]
function placeNames(id, names, points) {
  const { xaxis, yaxis } = byId(id)._fullLayout;
  const pen = document.createElement("canvas").getContext("2d");
  pen.font = "11px system-ui, sans-serif";
  const at = (spot) => [xaxis.d2p(spot.x), yaxis.d2p(spot.y)];
  const taken = points.map(at).map(([x, y]) => [x - 6, y - 6, x + 6, y + 6]);
  const apart = (a, b) => a[2] <= b[0] || b[2] <= a[0] || a[3] <= b[1] || b[3] <= a[1];
  const inside = (box) => box[0] >= 0 && box[1] >= 0 && box[2] <= xaxis._length && box[3] <= yaxis._length;
  const height = 16, annotations = [];
  for (const name of names) {
    const [x, y] = at(name), width = pen.measureText(name.text).width + 6;
    const near = name.first === "left" ? -1 : 1, far = -near;
    const sides = [[near, -1], [near, 1], [far, -1], [far, 1], [near, 0], [far, 0], [0, -1], [0, 1]];
    for (const [right, down] of sides) {
      const middle = [x + right * (width / 2 + 7), y + down * (height / 2 + (right ? 2 : 8))];
      const box = [-1, 1].flatMap((side) => [middle[0] + (side * width) / 2, middle[1] + (side * height) / 2]);
      if (!inside(box) || !taken.every((other) => apart(box, other))) continue;
      taken.push(box);
      annotations.push({
        x: xaxis.type === "log" ? Math.log10(name.x) : name.x, y: name.y, xshift: middle[0] - x, yshift: y - middle[1],
        text: escaped(name.text), showarrow: false, font: { size: 11, color: css("--ink") },
      });
      break;
    }
  }
  return annotations;
}

// Tables: a click on a head sorts by it, a second one the other way; the keyboard reaches the same buttons

// the number that a cell begins with; null where it begins with none
function amount(text) {
  const found = /^([-+]?[\d,]*\.?\d+(?:e[-+]?\d+)?)\s*([kMGT](?![a-z]))?/.exec(text);
  return found ? Number(found[1].replace(/,/g, "")) * (scales[found[2]] || 1) : null;
}

function sortBy(table, column) {
  const heads = [...table.tHead.rows[0].cells], head = heads[column];
  const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
  const entries = [...table.tBodies[0].rows].map((row) => {
    const text = row.cells[column].textContent.trim();
    return { row, text, number: amount(text) };
  });
  const byNumber = entries.some((entry) => known(entry.number));
  const missing = (entry) => (byNumber ? !known(entry.number) : entry.text === "–");
  entries.sort((a, b) => {
    if (missing(a) || missing(b)) return missing(a) - missing(b);  // last, whichever way
    return sign * (byNumber ? a.number - b.number : a.text.localeCompare(b.text, "en", { numeric: true }));
  });
  table.tBodies[0].append(...entries.map((entry) => entry.row));
  for (const other of heads) other.setAttribute("aria-sort", "none");
  head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
}

for (const table of document.querySelectorAll("table.sortable")) {
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = make("button", { type: "button", class: "sort" }, ...head.childNodes);
    button.onclick = () => sortBy(table, column);
    head.replaceChildren(button);
    head.setAttribute("aria-sort", "none");
  });
}

// what scrolls sideways is reached by the keyboard, so that its arrow keys scroll it
function reachScrolls() {
  for (const box of document.querySelectorAll(".scroll")) {
    if (box.scrollWidth > box.clientWidth) {
      box.tabIndex = 0;
      box.setAttribute("role", "group");
      box.setAttribute("aria-label", "table, scrolls sideways");
    } else {
      for (const name of ["tabindex", "role", "aria-label"]) box.removeAttribute(name);
    }
  }
}
addEventListener("resize", reachScrolls);

// Buttons that say what they act on

async function copy(node, button) {
  try {
    await navigator.clipboard.writeText(node.textContent);
    button.textContent = "Copied";
  } catch {  // no permission, or not a secure page
    getSelection().selectAllChildren(node);
    button.textContent = document.execCommand("copy") ? "Copied" : "Selected: press Ctrl-C";
  }
}

for (const button of document.querySelectorAll("[data-copy]")) button.hidden = false;
document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  const { copy: text, whole: zoomed, save } = button.dataset;
  if (text) copy(byId(text), button);
  if (zoomed) Plotly.relayout(zoomed, { "xaxis.autorange": true, "yaxis.autorange": true });
  if (save) Plotly.downloadImage(save, { format: "svg", filename: save, width: 900, height: 500 });
});
