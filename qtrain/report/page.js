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
    if (name === "onclick") node.onclick = value; else if (value !== false) node.setAttribute(name, value);
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
const deviation = (values) => {
  const middle = mean(values);
  return values.length < 2 ? null : Math.sqrt(values.reduce((sum, v) => sum + (v - middle) ** 2, 0) / (values.length - 1));
};

// Colours: the screen's own until the switch is used

const screenDark = matchMedia("(prefers-color-scheme: dark)");
const redraws = [];
const isDark = () => (document.documentElement.dataset.theme ? document.documentElement.dataset.theme === "dark" : screenDark.matches);
const redraw = () => redraws.forEach((draw) => draw());

function showTheme() {
  byId("theme").setAttribute("aria-pressed", isDark());
  redraw();
}
byId("theme").hidden = false;
byId("theme").onclick = () => {
  const theme = isDark() ? "light" : "dark";
  document.documentElement.dataset.theme = theme;
  try { localStorage.setItem("qtrain-theme", theme); } catch { /* then it lasts as long as the page */ }
  showTheme();
};
screenDark.addEventListener("change", showTheme);
let beforePrint;
addEventListener("beforeprint", () => { beforePrint = document.documentElement.dataset.theme; document.documentElement.dataset.theme = "light"; showTheme(); });
addEventListener("afterprint", () => {
  if (beforePrint) document.documentElement.dataset.theme = beforePrint; else delete document.documentElement.dataset.theme;
  showTheme();
});

function mixed(low, high, share) {
  const at = (colour) => [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16)), [from, to] = [at(low), at(high)];
  return "#" + from.map((value, i) => Math.round(value + share * (to[i] - value)).toString(16).padStart(2, "0")).join("");
}
// black or white, whichever can be read better on a colour
function inkOn(colour) {
  const linear = [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16) / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
  return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] > 0.179 ? "#000000" : "#ffffff";
}

// Plots

function layout(more) {
  const ink = css("--ink"), line = css("--line"), clear = "rgba(0,0,0,0)";
  const axis = { gridcolor: line, linecolor: css("--edge"), zeroline: false, ticks: "outside", tickcolor: line, automargin: true };
  const look = { paper_bgcolor: clear, plot_bgcolor: clear, font: { color: ink, size: 13, family: "system-ui, sans-serif" }, showlegend: false, hovermode: "closest",
    dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",  // a finger scrolls the page
    hoverlabel: { bgcolor: css("--card"), bordercolor: css("--edge"), font: { color: ink }, align: "left" } };
  return { ...look, ...more, xaxis: { ...axis, ...more.xaxis }, yaxis: { ...axis, ...more.yaxis } };
}

function draw(id, traces, more, text) {
  if (text) byId(id).setAttribute("aria-label", text);
  byId(id).style.height = `${more.height}px`;
  return Plotly.react(id, traces, layout(more), { displayModeBar: false, responsive: true });
}

// 1, 2 and 5 of every decade; plotly's own small digits say no size
function logTicks(values) {
  const spots = [];
  for (let e = Math.floor(Math.log10(Math.min(...values))) - 1; e <= Math.log10(Math.max(...values)) + 1; e++) spots.push(...[1, 2, 5].map((digit) => digit * 10 ** e));
  return { type: "log", tickvals: spots, ticktext: spots.map(short) };
}

// Names beside points, none over another or over a point; one without room is left out, its hover text has it.
// names: [{x, y, text, first}], first: the places to try first ("left" or "right")
function placeNames(id, names, points) {
  const plot = byId(id), { xaxis, yaxis } = plot._fullLayout;
  const pen = document.createElement("canvas").getContext("2d");
  pen.font = "11px system-ui, sans-serif";
  const at = (spot) => [xaxis.d2p(spot.x), yaxis.d2p(spot.y)];
  const taken = points.map((spot) => { const [x, y] = at(spot); return [x - 6, y - 6, x + 6, y + 6]; });
  const free = (box) => box[0] >= 0 && box[1] >= 0 && box[2] <= xaxis._length && box[3] <= yaxis._length && taken.every((other) => box[2] <= other[0] || other[2] <= box[0] || box[3] <= other[1] || other[3] <= box[1]);
  const annotations = [];
  for (const name of names) {
    const [x, y] = at(name), width = pen.measureText(name.text).width + 6, height = 16;
    const sides = name.first === "left" ? [-1, 1] : [1, -1];
    const places = [[sides[0], -1], [sides[0], 1], [sides[1], -1], [sides[1], 1], [sides[0], 0], [sides[1], 0], [0, -1], [0, 1]];
    for (const [right, down] of places) {
      const middle = [x + right * (width / 2 + 7), y + down * (height / 2 + (right ? 2 : 8))];
      const box = [middle[0] - width / 2, middle[1] - height / 2, middle[0] + width / 2, middle[1] + height / 2];
      if (!free(box)) continue;
      taken.push(box);
      annotations.push({ x: xaxis.type === "log" ? Math.log10(name.x) : name.x, y: name.y, xshift: middle[0] - x, yshift: y - middle[1], text: escaped(name.text), showarrow: false, font: { size: 11, color: css("--ink") } });
      break;
    }
  }
  return annotations;
}

// Tables: a click on a head sorts by it, a second one the other way; the keyboard reaches the same buttons

function amount(text) {
  const found = /^([-+]?[\d,]*\.?\d+(?:e[-+]?\d+)?)\s*([kMGT](?![a-z]))?/.exec(text);
  return found ? Number(found[1].replace(/,/g, "")) * (scales[found[2]] || 1) : null;
}

function sortBy(table, column) {
  const head = table.tHead.rows[0].cells[column], up = head.getAttribute("aria-sort") !== "ascending";
  const body = table.tBodies[0], rows = [...body.rows];
  const texts = new Map(rows.map((row) => [row, row.cells[column].textContent.trim()]));
  const numbers = new Map(rows.map((row) => [row, amount(texts.get(row))]));
  const byNumber = rows.some((row) => known(numbers.get(row)));
  const missing = (row) => (byNumber ? !known(numbers.get(row)) : texts.get(row) === "–");
  rows.sort((a, b) => missing(a) - missing(b) || (missing(a) ? 0 : (up ? 1 : -1) * (byNumber ? numbers.get(a) - numbers.get(b) : texts.get(a).localeCompare(texts.get(b), "en", { numeric: true }))));
  body.append(...rows);
  for (const other of head.parentElement.cells) other.setAttribute("aria-sort", other === head ? (up ? "ascending" : "descending") : "none");
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
    if (box.scrollWidth > box.clientWidth) { box.tabIndex = 0; box.setAttribute("role", "group"); box.setAttribute("aria-label", "table, scrolls sideways"); } else box.removeAttribute("tabindex");
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
