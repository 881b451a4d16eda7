// The page of a sweep: accuracy against a cost, accuracy by bits, all that is known of the selected point.
const { axes, points, recommended, texts } = JSON.parse(document.getElementById("sweep-data").textContent);
const state = { axis: axes.length ? axes[0].key : null, kind: "test_accuracy", seeds: false, selected: null, curve: "validation_accuracy" };
const symbols = { scratch: "circle", warm: "diamond", search: "square" };
const startNames = { scratch: "from scratch", warm: "warm start", search: "search" };
const seedDashes = ["solid", "dash", "dot", "dashdot", "longdash", "longdashdot"];
const startChecked = () => checked("#starts");
const measured = (axis, value) => (["fps", "lut", "bram"].includes(axis.key) ? whole(value) : short(value));

function meanText(point, digits = 2) {
  const mean = point.mean[state.kind], spread = point.spread[state.kind];
  return known(mean) ? mean.toFixed(digits) + (known(spread) ? " ± " + spread.toFixed(digits) : "") : "failed";
}
// from the best cost to the best accuracy; equal points stay together, as in qtrain.report.sweep.pareto
function paretoFront(shown, axis) {
  const sign = axis.more ? -1 : 1;
  const sorted = shown.map((p) => [sign * p.cost[axis.key], -p.mean[state.kind], p]).sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  const front = [];
  for (const entry of sorted) {
    const last = front[front.length - 1];
    if (!last || entry[1] < last[1] || (entry[0] === last[0] && entry[1] === last[1])) front.push(entry);
  }
  return front.map((entry) => entry[2]);
}

function hoverText(point) {
  const rows = [`<b>${escaped(point.name)}</b>, ${point.startText}`, `accuracy ${meanText(point)} %`];
  for (const axis of axes) if (known(point.cost[axis.key])) rows.push(`${axis.label}: ${measured(axis, point.cost[axis.key])}`);
  return [...rows, point.marks].join("<br>");
}

// Limits: a slider for accuracy and one for each cost, its stops are the points' own values

const amountOf = (point, key) => (key === "accuracy" ? point.mean[state.kind] : point.cost[key]);
const limits = [{ key: "accuracy", name: "accuracy", least: true, say: (value) => `${value.toFixed(2)} %` },
  ...axes.map((axis) => ({ key: axis.key, name: axis.name, least: axis.more, say: (value) => measured(axis, value) }))];

function makeLimit(limit) {
  limit.stops = [...new Set(points.map((p) => amountOf(p, limit.key)).filter(known))].sort((a, b) => a - b);
  limit.free = limit.least ? 0 : limit.stops.length - 1;  // where nothing is left out
  const slider = make("input", { type: "range", id: `limit-${limit.key}`, min: 0, max: Math.max(0, limit.stops.length - 1), step: 1 });
  const said = make("output", { for: slider.id });
  slider.value = limit.free;
  limit.slider = slider;
  limit.show = () => {
    const at = Number(slider.value), text = at === limit.free ? "any" : `${limit.least ? "at least" : "at most"} ${limit.say(limit.stops[at])}`;
    slider.setAttribute("aria-valuetext", text);
    said.textContent = text;
  };
  slider.oninput = () => { limit.show(); drawScatter(); };
  if (limit.stops.length) limit.show();
  return make("div", { class: "limit", hidden: limit.stops.length < 2 ? "" : false }, make("label", { for: slider.id }, limit.name), slider, said);
}

function within(point) {
  return limits.every((limit) => {
    const at = Number(limit.slider.value), value = amountOf(point, limit.key);
    return at === limit.free || !limit.stops.length || (known(value) && (limit.least ? value >= limit.stops[at] : value <= limit.stops[at]));
  });
}

function makeLimits() {
  byId("limits").replaceChildren(...limits.map(makeLimit));
}

// the table has what the plot has, and what has no such cost
function filterTable() {
  const starts = startChecked(), rows = [...byId("points").tBodies[0].rows];
  for (const row of rows) {
    const point = points[Number(row.querySelector("[data-point]").dataset.point)];
    row.hidden = !starts.includes(point.start) || !within(point);
  }
  byId("counted").textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length} points are within the limits.`;
}

function startTrace(start, shown, axis) {
  const ours = shown.filter((p) => p.start === start);
  const spots = state.seeds
    ? ours.flatMap((p) => p.cells.filter((c) => known(c[state.kind]) && known(c.axes[axis.key])).map((c) => [p, c.axes[axis.key], c[state.kind], 0, `<b>${escaped(c.cell)}</b><br>accuracy ${percent(c[state.kind])}`]))
    : ours.map((p) => [p, p.cost[axis.key], p.mean[state.kind], p.spread[state.kind] || 0, hoverText(p)]);
  return { name: startNames[start], type: "scatter", mode: "markers", x: spots.map((s) => s[1]), y: spots.map((s) => s[2]),
    error_y: { array: spots.map((s) => s[3]), visible: !state.seeds, thickness: 1.2, width: 3, color: css("--" + start) },
    customdata: spots.map((s) => s[0].id), hovertext: spots.map((s) => s[4]), hoverinfo: "text",
    marker: { color: css("--" + start), size: state.seeds ? 7 : 10, line: { width: 2, color: css("--" + start) },
      symbol: spots.map((s) => symbols[start] + (s[0].verdict === "refused" ? "-open" : "")) } };
}

const ticks = (values, log) => (log ? logTicks(values) : { type: "linear", exponentformat: "SI", nticks: 8 });

function drawScatter() {
  filterTable();
  const axis = axes.find((a) => a.key === state.axis);
  if (!axis) { byId("missing").textContent = "No cell was exported, so no cost is known."; return; }
  const starts = startChecked();
  const wanted = points.filter((p) => starts.includes(p.start) && within(p));
  const shown = wanted.filter((p) => known(p.cost[axis.key]) && known(p.mean[state.kind]));
  const front = paretoFront(shown.filter((p) => p.proof !== "failed"), axis), costs = shown.map((p) => p.cost[axis.key]);
  const log = Math.min(...costs) > 0 && Math.max(...costs) > 20 * Math.min(...costs);
  const named = shown.length > 12 ? front : shown;
  const traces = starts.map((start) => startTrace(start, shown, axis));
  traces.unshift({ name: "Pareto front", type: "scatter", mode: "lines", x: front.map((p) => p.cost[axis.key]), y: front.map((p) => p.mean[state.kind]),
    line: { shape: "hv", color: css("--soft"), width: 1.5 }, hoverinfo: "skip" });
  const chosen = shown.filter((p) => p.id === state.selected);
  traces.push({ name: "selected", type: "scatter", mode: "markers", showlegend: false, hoverinfo: "skip", x: chosen.map((p) => p.cost[axis.key]), y: chosen.map((p) => p.mean[state.kind]),
    marker: { symbol: "circle-open", size: 20, color: css("--focus"), line: { width: 3 } } });
  const kind = byId("kind").selectedOptions[0].textContent;
  drawnNames = () => placeNames("scatter", named.filter((p) => p.start !== "search").map((p) => ({ x: p.cost[axis.key], y: p.mean[state.kind], text: p.short, first: axis.more ? "right" : "left" })), shown.map((p) => ({ x: p.cost[axis.key], y: p.mean[state.kind] })));
  draw("scatter", traces, { height: 460, margin: { l: 60, r: 15, t: 10, b: 55 }, xaxis: { title: { text: axis.label }, ...ticks(costs, log) },
    yaxis: { title: { text: `accuracy on ${kind}, %` } } }, state.kind === "test_accuracy" ? texts[axis.key] : `Mean accuracy on ${kind} against ${axis.label}`).then(writeNames);
  const hidden = wanted.length - shown.length;
  byId("missing").textContent = hidden ? `${hidden} of ${wanted.length} points are not shown: they failed, or have no such number.` : "";
}

// names are placed anew where zoom or width have changed
let drawnNames = () => [];
const writeNames = () => Plotly.relayout("scatter", { annotations: drawnNames() });

function drawMap() {
  if (!byId("grid")) return;
  const [start, bits] = byId("grid").value.split("|");
  const cells = new Map();
  for (const p of [...points].sort((a, b) => a.totalEpochs - b.totalEpochs)) {
    if (p.start === start && p.bits === bits && known(p.weightBits)) cells.set(`${p.weightBits} ${p.actBits}`, p);
  }
  const values = [...cells.values()], means = values.map((p) => p.mean[state.kind]).filter(known);
  const low = Math.min(...means), high = Math.max(...means);
  const widths = (key) => [...new Set(values.map((p) => p[key]))].sort((a, b) => a - b);
  const rows = widths("weightBits").reverse().map((weight) => make("tr", {}, make("th", { scope: "row" }, `${weight} W`),
    ...widths("actBits").map((act) => make("td", {}, mapCell(cells.get(`${weight} ${act}`), low, high)))));
  rows.push(make("tr", {}, make("th", {}), ...widths("actBits").map((act) => make("th", { scope: "col" }, `${act} A`))));
  byId("map").replaceChildren(...rows);
  byId("scale").replaceChildren("W: bits of weights, A: bits of activations. Mean accuracy, % ", low.toFixed(1), make("i", { class: "scale" }), high.toFixed(1));
}

function mapCell(point, low, high) {
  if (!point) return null;
  const mean = point.mean[state.kind], share = known(mean) ? (mean - low) / (high - low || 1) : 0;
  const back = known(mean) ? mixed(css("--low"), css("--high"), share) : css("--code");
  return make("button", { type: "button", style: `background:${back};color:${inkOn(back)}`, class: point.id === state.selected ? "selected" : false, "data-point": point.id, title: point.name },
    make("b", {}, meanText(point, 1)), ...point.marks.split(", ").map((mark) => make("small", {}, sign(mark))));
}
const sign = (mark) => (/^(proven|FINN takes)/.test(mark) ? "✓ " : /failed|refuses/.test(mark) ? "✗ " : "") + mark;

function select(id, far = true) {
  state.selected = id;
  drawScatter();
  drawMap();
  drawPanel(points[id]);
  if (far && matchMedia("(max-width: 900px)").matches) byId("panel").scrollIntoView();
}

const factTable = (rows) => make("table", {}, make("tbody", {}, ...rows.filter((r) => known(r[1])).map(([name, value]) => make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, value)))));

function drawPanel(point) {
  const first = point.cells.find((c) => c.estimate) || point.cells.find((c) => c.cost) || point.cells[0], cost = first.cost || {}, estimate = first.estimate;
  const choice = make("select", { id: "curve", "aria-label": "curve" }, ...Object.entries(curveNames).map(([key, name]) => make("option", { value: key }, name)));
  choice.value = state.curve;
  choice.onchange = () => { state.curve = choice.value; drawCurves(point); };
  byId("panel").replaceChildren(
    make("h3", {}, point.name), ...(point.id === recommended ? [make("p", { class: "good" }, "★ recommended")] : []), make("p", { class: "note" }, first.parent ? `${point.startText}, from ${first.parent}` : point.startText),
    factTable([["test accuracy", meanPair(point, "test_accuracy")], ["validation accuracy", meanPair(point, "validation_accuracy")],
      ["BOPs an image", known(cost.bops) ? short(cost.bops) : null], ["multiply-accumulates an image", known(cost.macs) ? short(cost.macs) : null], ["memory of weights, bits", known(cost.weight_bits) ? whole(cost.weight_bits) : null]]),
    make("h4", {}, "Proof"), ...proofLines(point),
    make("h4", {}, "FINN"), finnLine(point), ...first.lint.map((text) => make("p", { class: "note" }, "lint: " + text)),
    ...(estimate ? estimateLines(estimate, first.seed) : []),
    make("h4", {}, "By epoch ", choice), make("div", { id: "curves", role: "img", "aria-label": `curves of ${point.name} by epoch; the files of its cells hold the numbers` }),
    make("h4", {}, "Cells"), ...point.cells.map((cell) => cellDetails(cell, cell === first)));
  byId("panel").scrollTop = 0;
  drawCurves(point);
}

function meanPair(point, kind) {
  const mean = point.mean[kind], spread = point.spread[kind];
  return known(mean) ? `${mean.toFixed(2)}${known(spread) ? " ± " + spread.toFixed(2) : ""} %` : null;
}

// seeds with the same outcome on one line
function proofLines(point) {
  const seeds = new Map();
  for (const cell of point.cells) {
    const equal = cell.proof ? `${cell.proof.equal} of ${cell.proof.images} test images equal in graph and torch` : "";
    const text = cell.proven ? `✓ proven: ${equal}` : cell.proven === false ? `✗ failed: ${equal || cell.error}` : "not reached, or no board was named";
    seeds.set(text, [...(seeds.get(text) || []), cell.seed]);
  }
  return [...seeds].map(([text, of]) => make("div", { class: text[0] === "✓" ? "good" : text[0] === "✗" ? "bad" : "note" }, `${text} (${of.length > 1 ? "seeds" : "seed"} ${of.join(", ")})`));
}

function finnLine(point) {
  const answer = (point.cells.find((c) => c.finn && !c.finn.accepted) || point.cells.find((c) => c.finn) || {}).finn;
  if (!answer) return make("div", { class: "note" }, "not asked: no board was named or no compiler is installed");
  return make("div", { class: answer.accepted ? "good" : "bad" }, `${answer.accepted ? "✓ accepted" : "✗ refused"}: ${answer.reason}`);
}

function estimateLines(estimate, seed) {
  const bars = Object.entries(estimate.used).map(([kind, used]) => {
    const has = estimate.available[kind], share = has ? (100 * used) / has : used ? 101 : 0;
    return make("div", { class: "share" }, make("span", {}, kind), make("span", { class: "track" }, make("i", { class: share > 100 ? "over" : false, style: `width:${Math.min(100, share)}%` })), make("small", {}, `${whole(used)} of ${whole(has)}${has ? ` (${share.toFixed(share < 10 ? 1 : 0)} %)` : ""}`));
  });
  const speed = `${whole(estimate.fps)} frames/s at ${estimate.clock_ns} ns, ${(estimate.latency_ns / 1e6).toFixed(2)} ms latency`;
  return [make("h4", {}, `FINN's estimate for ${estimate.board} (seed ${seed})`), make("div", { class: estimate.fits ? "good" : "bad" }, estimate.fits ? "✓ fits" : "✗ does not fit"),
    make("div", { class: estimate.meets_target ? "good" : "bad" }, `${estimate.meets_target ? "✓" : "✗"} ${speed}; ${whole(estimate.target_fps)} asked`), ...bars];
}

function cellDetails(cell, open) {
  const command = make("pre", {}, cell.command), seconds = Object.entries(cell.seconds).filter((s) => known(s[1])).map(([stage, s]) => `${stage} ${s} s`).join(", ");
  const summary = [cell.cell + ": " + percent(cell.test_accuracy), ...(cell.state === "failed" ? [`failed at ${cell.stage}`] : [])].join(", ");
  return make("details", { open: open ? "" : false }, make("summary", {}, summary), cell.error ? make("p", { class: "bad" }, cell.error) : null,
    make("div", { class: "note" }, `folder ${cell.folder}`), known(cell.best_epoch) ? make("div", { class: "note" }, `best epoch ${cell.best_epoch} of ${cell.epochs}; ${seconds}`) : null,
    command, make("button", { type: "button", class: "copy", onclick: (event) => copy(command, event.currentTarget) }, "Copy the command"));
}

const curveNames = { validation_accuracy: "validation accuracy, %", train_loss: "training loss", lr: "learning rate" };

function drawCurves(point) {
  const traces = [], log = state.curve !== "validation_accuracy";
  const pair = known(point.partner);  // then a line of the legend a start, else one a seed
  const add = (cells, colour, start, width) => cells.forEach((cell, i) => {
    const y = cell.curve[state.curve] || [];
    traces.push({ type: "scatter", mode: y.length < 3 ? "lines+markers" : "lines", x: y.map((_, e) => cell.offset + e + 1), y, name: pair ? startNames[start] : `seed ${cell.seed}`,
      text: `${startNames[start]}, seed ${cell.seed}`, hovertemplate: "%{text}<br>epoch %{x}: %{y:.4g}<extra></extra>", showlegend: !pair || i === 0, line: { color: colour, width, dash: seedDashes[i % seedDashes.length], shape: state.curve === "lr" ? "hv" : "linear" } });
  });
  if (pair) add(points[point.partner].cells, css("--scratch"), "scratch", 1.2);
  add(point.cells, css("--" + point.start), point.start, 2);
  draw("curves", traces, { height: 260, margin: { l: 50, r: 8, t: 6, b: 42 }, showlegend: traces.length > 1, legend: { font: { size: 10 }, orientation: "h", y: -0.28, yanchor: "top", itemclick: false, itemdoubleclick: false }, font: { color: css("--ink"), size: 11 },
    xaxis: { title: { text: point.start === "scratch" ? "epoch" : "epoch, its ancestors' included" }, tickformat: "d" }, yaxis: { type: log ? "log" : "linear" } });
}

redraws.push(drawScatter, drawMap, () => { if (known(state.selected)) drawCurves(points[state.selected]); });
if (axes.length) byId("axis").onchange = (event) => { state.axis = event.target.value; drawScatter(); };
byId("kind").onchange = (event) => { state.kind = event.target.value; makeLimits(); redraw(); };
byId("starts").onchange = drawScatter;
byId("free").onclick = () => { makeLimits(); drawScatter(); };
if (byId("seeds")) byId("seeds").onchange = (event) => { state.seeds = event.target.checked; drawScatter(); };
if (byId("grid")) byId("grid").onchange = drawMap;
document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-point]");
  if (button) select(Number(button.dataset.point));
});
makeLimits();
showTheme();
if (known(recommended)) select(recommended, false);
if (axes.length) {
  byId("scatter").on("plotly_click", (event) => {
    const hit = event.points.find((p) => known(p.customdata));
    if (hit) select(hit.customdata);
  });
  byId("scatter").on("plotly_relayout", (change) => { if (!("annotations" in change)) writeNames(); });
}
reachScrolls();
