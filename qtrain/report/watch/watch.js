"use strict";
// Follows the server of `qtrain watch`: asks for the runs every two seconds, and for the curves of those that are ticked.
const EVERY = 2000; // ms between two questions
const ROWS = 300; // of the table at most
const DASHES = ["", "8 3", "2 3", "10 3 2 3", "5 5", "14 4", "2 6", "6 2 2 2"];
const DRAWN = ["loss", "validation_accuracy", "lr"];
const BEST_FIRST = new Set(["best", "test", "fps", "epochs"]);
const MARGIN = {left: 52, right: 10, top: 8, bottom: 24};
const $ = (id) => document.getElementById(id);
const MOST = Number($("runs").dataset.most);

const shown = new Map(); // folder of a run whose curves are drawn -> its colour, 0 to 7
const lines = new Map(); // folder -> its row of the table
const tags = {}; // of the last answers
let runs = [];
let curves = {};
let chosen = false; // whether a first choice of curves was made
let sort = {key: "", descending: false};
let following = true;

function element(name, text, kind) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

function drawing(name, attributes, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// --- Numbers in words ----------------------------------------------------------------------------------------------

function duration(seconds) {
  const minutes = Math.floor(Math.round(seconds) / 60);
  if (minutes >= 60) return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`;
  return minutes ? `${minutes} min ${String(Math.round(seconds) % 60).padStart(2, "0")} s` : `${Math.round(seconds)} s`;
}

function short(value) {
  if (value === null || value === undefined) return "-";
  const size = Math.abs(value);
  if (size !== 0 && (size < 0.001 || size >= 1e6)) return value.toExponential(2);
  return String(Number(value.toPrecision(4)));
}

function cell(run, key) {
  if (key === "epochs") return run.epochs === null ? "-" : `${run.done}/${run.epochs}`;
  const value = run[key];
  if (value === null || value === "") return "-";
  if (key === "best" || key === "test") return value.toFixed(2);
  if (key === "lut" || key === "fps") return Math.round(value).toLocaleString("en");
  if (key === "seconds_left") return duration(value);
  return String(value);
}

// --- Asking the server ---------------------------------------------------------------------------------------------

async function ask(name) {
  const known = tags[name];
  const answer = await fetch(name, {headers: known ? {"If-None-Match": known.tag} : {}, cache: "no-store"});
  if (answer.status === 304) return known.values;
  if (!answer.ok) throw new Error(`the server answers ${answer.status}`);
  const values = await answer.json();
  tags[name] = {tag: answer.headers.get("ETag"), values};
  return values;
}

async function look() {
  try {
    const found = await ask("runs.json");
    runs = found.runs;
    if (!chosen && runs.length) chooseFirst();
    showSummary(found);
    showTable();
    await lookAtCurves();
    write($("status"), `up to date, ${new Date().toLocaleTimeString()}`);
    trouble(found.error);
  } catch (error) {
    write($("status"), "not up to date");
    trouble("The server does not answer: qtrain watch has ended, or is busy. This page shows what it said last.");
  }
}

function trouble(text) {
  $("trouble").hidden = !text;
  write($("trouble"), text ? `✗ ${text}` : "");
}

async function lookAtCurves() {
  for (const name of Object.keys(tags)) if (name !== "runs.json" && name !== curvesName()) delete tags[name];
  curves = shown.size ? await ask(curvesName()) : {};
  draw();
}

function curvesName() {
  return `curves.json?${[...shown.keys()].map((folder) => `run=${encodeURIComponent(folder)}`).join("&")}`;
}

// --- Which curves are drawn ----------------------------------------------------------------------------------------

function chooseFirst() {
  // those that run, then those that were written last
  const trained = runs.filter((run) => run.curve);
  const later = (run) => (run.state.startsWith("running") ? 1e12 : 0) + (run.changed || 0);
  const first = [...trained].sort((a, b) => later(b) - later(a)).slice(0, MOST);
  for (const run of runs) if (first.includes(run)) choose(run.folder);
  chosen = trained.length > 0;
}

function choose(folder) {
  const taken = new Set(shown.values());
  for (let colour = 0; colour < MOST; colour++) {
    if (!taken.has(colour)) {
      shown.set(folder, colour);
      return;
    }
  }
}

// --- The table -----------------------------------------------------------------------------------------------------

function heads() {
  return [...document.querySelectorAll("#runs thead th[data-key]")];
}

function newLine(run) {
  const line = element("tr");
  const first = element("td");
  const label = element("label");
  const box = element("input");
  box.type = "checkbox";
  box.addEventListener("change", () => {
    if (box.checked) choose(run.folder);
    else shown.delete(run.folder);
    showTable();
    lookAtCurves().catch(() => {});
  });
  const swatch = drawing("svg", {class: "swatch", "aria-hidden": "true"});
  swatch.append(drawing("line", {x1: 0, y1: 6, x2: 30, y2: 6}));
  label.append(box, swatch);
  first.append(label);
  line.append(first);
  for (const head of heads()) {
    const entry = element("td", "", head.dataset.number ? "" : "text");
    if (head.dataset.key === "folder") entry.classList.add("folder");
    line.append(entry);
  }
  return line;
}

function updateLine(line, run) {
  const box = line.querySelector("input");
  const colour = shown.get(run.folder);
  box.checked = colour !== undefined;
  box.disabled = colour === undefined && (shown.size >= MOST || !run.curve);
  box.setAttribute("aria-label", `curves of ${run.folder}`);
  const stroke = line.querySelector(".swatch line");
  stroke.setAttribute("stroke", colour === undefined ? "none" : `var(--run${colour})`);
  stroke.setAttribute("stroke-dasharray", DASHES[colour] || "");
  heads().forEach((head, i) => {
    const entry = line.children[i + 1];
    const key = head.dataset.key;
    if (key === "state") {
      const state = `${run.state}\n${run.why}`;
      if (entry.dataset.said === state) return;
      entry.dataset.said = state;
      entry.replaceChildren(element("span", run.state, `state-${run.state.replace("?", "")}`));
      if (run.why) entry.append(element("span", run.why, "why"));
    } else write(entry, cell(run, key));
  });
}

function wanted() {
  const words = $("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const text = (run) => [run.folder, run.network, run.data, run.scheduler, run.state, run.proof].join(" ").toLowerCase();
  const found = runs.filter((run) => words.every((word) => text(run).includes(word)));
  if (!sort.key) return found;
  const value = (run) => (sort.key === "epochs" ? run.done : run[sort.key]);
  const isKnown = (run) => value(run) !== null && value(run) !== "";
  const known = found.filter(isKnown);
  const compare = (a, b) => (typeof a === "number" ? a - b : a.localeCompare(b, "en", {numeric: true}));
  known.sort((a, b) => compare(value(a), value(b)) * (sort.descending ? -1 : 1));
  return [...known, ...found.filter((run) => !isKnown(run))];
}

function showTable() {
  const found = wanted();
  const body = document.querySelector("#runs tbody");
  const first = found.slice(0, ROWS);
  for (const run of first) {
    if (!lines.has(run.folder)) lines.set(run.folder, newLine(run));
    updateLine(lines.get(run.folder), run);
  }
  const order = first.map((run) => lines.get(run.folder));
  if (order.length !== body.children.length || order.some((line, i) => body.children[i] !== line)) {
    const focused = document.activeElement;
    body.replaceChildren(...order);
    if (body.contains(focused)) focused.focus(); // which moving it has lost
  }
  write($("count"), found.length === runs.length ? `${runs.length} runs` : `${found.length} of ${runs.length} runs`);
  write($("more"), found.length > ROWS ? `${found.length - ROWS} more are not shown; filter, or sort by a column.` : "");
  write($("drawn"), shown.size ? "Tick runs in the table below to draw them." : "Tick runs in the table below: none is drawn.");
}

function showSummary(found) {
  const counts = {};
  for (const run of runs) counts[run.state] = (counts[run.state] || 0) + 1;
  const tiles = [["runs", String(runs.length)], ...Object.entries(counts).map(([state, n]) => [state, String(n)])];
  const best = Math.max(...runs.map((run) => run.best ?? -Infinity));
  if (Number.isFinite(best)) tiles.push(["best validation accuracy, %", best.toFixed(2)]);
  if (found.seconds_left !== null) tiles.push(["time left, about", duration(found.seconds_left)]);
  const said = JSON.stringify(tiles);
  if ($("tiles").dataset.said !== said) {
    $("tiles").dataset.said = said;
    $("tiles").replaceChildren(...tiles.map(([name, value]) => {
      const tile = element("div", undefined, "tile");
      tile.append(element("dt", name), element("dd", value));
      return tile;
    }));
  }
  list($("lines"), found.lines || []);
  list($("damages"), found.damaged);
  $("damaged").hidden = !found.damaged.length;
}

function list(node, texts) {
  const said = JSON.stringify(texts);
  if (node.dataset.said === said) return;
  node.dataset.said = said;
  node.replaceChildren(...texts.map((text) => element("li", text)));
}

// --- The curves ----------------------------------------------------------------------------------------------------

function drawnRuns() {
  return [...shown.entries()].filter(([folder]) => curves[folder] && curves[folder].epoch);
}

function ticks(low, high, count) {
  const rough = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough);
  const found = [];
  for (let value = Math.ceil(low / step) * step; value <= high + step * 1e-9; value += step) found.push(value);
  return found;
}

function logTicks(low, high) {
  const found = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
    for (const factor of high / low < 30 ? [1, 2, 5] : [1]) {
      const value = factor * 10 ** power;
      if (value >= low * 0.999 && value <= high * 1.001) found.push(value);
    }
  }
  return found.length ? found : [low];
}

function draw() {
  const last = Math.max(1, ...drawnRuns().map(([folder]) => curves[folder].epoch.at(-1) || 1));
  const slider = $("epoch");
  slider.max = String(last);
  if (following) slider.value = String(last);
  write($("at"), drawnRuns().length ? slider.value : "-");
  for (const key of DRAWN) drawOne(key, last);
  showValues();
}

function drawOne(key, last) {
  const figure = document.querySelector(`[data-chart="${key}"]`);
  const svg = figure.querySelector("svg");
  const isLog = figure.querySelector(".log")?.checked || false;
  const usable = (value) => value !== null && (!isLog || value > 0);
  const values = drawnRuns().flatMap(([folder]) => curves[folder][key].filter(usable));
  svg.replaceChildren();
  const said = figure.querySelector("figcaption");
  if (!values.length) {
    write(said, "No epoch yet.");
    return;
  }
  const width = svg.clientWidth;
  const height = svg.clientHeight;
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  let low = Math.min(...values);
  let high = Math.max(...values);
  if (low === high) [low, high] = isLog ? [low / 2, high * 2] : [low - (Math.abs(low) / 10 || 1), high + (Math.abs(high) / 10 || 1)];
  const scale = isLog ? Math.log10 : (value) => value;
  const x = (epoch) => MARGIN.left + ((epoch - 1) / Math.max(1, last - 1)) * (width - MARGIN.left - MARGIN.right);
  const y = (value) => height - MARGIN.bottom - ((scale(value) - scale(low)) / (scale(high) - scale(low))) * (height - MARGIN.top - MARGIN.bottom);
  for (const value of isLog ? logTicks(low, high) : ticks(low, high, 4)) {
    svg.append(drawing("line", {class: "grid", x1: MARGIN.left, x2: width - MARGIN.right, y1: y(value), y2: y(value)}));
    svg.append(drawing("text", {x: MARGIN.left - 6, y: y(value) + 4, "text-anchor": "end"}, short(value)));
  }
  for (const epoch of ticks(1, last, Math.max(2, width / 80))) {
    if (Number.isInteger(epoch)) svg.append(drawing("text", {x: x(epoch), y: height - 6, "text-anchor": "middle"}, String(epoch)));
  }
  const cursor = x(Number($("epoch").value));
  svg.append(drawing("line", {class: "cursor", x1: cursor, x2: cursor, y1: MARGIN.top, y2: height - MARGIN.bottom}));
  for (const [folder, colour] of drawnRuns()) {
    let path = "";
    let pen = "M"; // lifted where a value is missing
    curves[folder].epoch.forEach((epoch, i) => {
      const value = curves[folder][key][i];
      if (usable(value)) {
        path += `${pen}${x(epoch).toFixed(1)},${y(value).toFixed(1)}`;
        pen = "L";
      } else pen = "M";
    });
    const style = {class: "curve", d: path, stroke: `var(--run${colour})`, "stroke-dasharray": DASHES[colour]};
    svg.append(drawing("path", style));
    if (curves[folder].epoch.length === 1 && path) {
      const [left, top] = path.slice(1).split(",");
      svg.append(drawing("circle", {cx: left, cy: top, r: 3, fill: `var(--run${colour})`}));
    }
  }
  const count = drawnRuns().length;
  write(said, `${count} run${count === 1 ? "" : "s"}, ${short(Math.min(...values))} to ${short(Math.max(...values))}, by epoch`);
}

function showValues() {
  const epoch = Number($("epoch").value);
  const body = document.querySelector("#values tbody");
  body.replaceChildren(...drawnRuns().map(([folder, colour]) => {
    const curve = curves[folder];
    let at = -1; // the last one drawn up to that epoch
    curve.epoch.forEach((each, i) => { if (each <= epoch) at = i; });
    const line = element("tr");
    const name = element("th", undefined);
    name.scope = "row";
    const swatch = drawing("svg", {class: "swatch", "aria-hidden": "true"});
    swatch.append(drawing("line", {x1: 0, y1: 6, x2: 24, y2: 6, stroke: `var(--run${colour})`, "stroke-dasharray": DASHES[colour]}));
    name.append(swatch, document.createTextNode(folder));
    line.append(name);
    for (const key of ["loss", "validation_loss", "validation_accuracy", "lr"]) {
      line.append(element("td", at < 0 ? "-" : short(curve[key][at])));
    }
    return line;
  }));
}

// --- What a person does --------------------------------------------------------------------------------------------

function moveTo(epoch) {
  following = epoch >= Number($("epoch").max);
  $("epoch").value = String(epoch);
  $("follow").setAttribute("aria-pressed", String(following));
  draw();
}

$("epoch").addEventListener("input", () => moveTo(Number($("epoch").value)));
$("follow").addEventListener("click", () => moveTo(Number($("epoch").max)));
$("filter").addEventListener("input", showTable);
for (const head of heads()) {
  head.querySelector("button").addEventListener("click", () => {
    const key = head.dataset.key;
    sort = sort.key === key ? {key, descending: !sort.descending} : {key, descending: BEST_FIRST.has(key)};
    for (const other of heads()) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", sort.descending ? "descending" : "ascending");
    showTable();
  });
}
for (const box of document.querySelectorAll(".log")) box.addEventListener("change", draw);
for (const svg of document.querySelectorAll("[data-chart] svg")) {
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const share = (event.clientX - box.left - MARGIN.left) / (box.width - MARGIN.left - MARGIN.right);
    const last = Number($("epoch").max);
    if (drawnRuns().length) moveTo(Math.min(last, Math.max(1, Math.round(1 + share * (last - 1)))));
  });
}
new ResizeObserver(() => draw()).observe(document.querySelector(".charts"));

async function follow() {
  if (!document.hidden) await look();
  setTimeout(follow, EVERY);
}

document.addEventListener("visibilitychange", () => { if (!document.hidden) look(); });
follow();
