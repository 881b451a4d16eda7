// The page of a sweep: accuracy against a cost, accuracy by bits, all that is known of the selected point.
const { axes, points, recommended, texts } = JSON.parse(byId("sweep-data").textContent);
const state = {
  axis: axes.length ? axes[0].key : null, kind: "test_accuracy", seeds: false, selected: null,
  curve: "validation_accuracy",
};
const symbols = { scratch: "circle", warm: "diamond", search: "square" };
const startNames = { scratch: "from scratch", warm: "warm start", search: "search" };
const seedDashes = ["solid", "dash", "dot", "dashdot", "longdash", "longdashdot"];
const startChecked = () => checked("#starts");
const measured = (axis, value) => (["fps", "lut", "bram"].includes(axis.key) ? whole(value) : short(value));
const accuracyOf = (point) => point.mean[state.kind];

function meanText(point, kind = state.kind, digits = 2) {
  const mean = point.mean[kind], spread = point.spread[kind];
  return known(mean) ? mean.toFixed(digits) + (known(spread) ? " ± " + spread.toFixed(digits) : "") : "failed";
}

// from the best cost to the best accuracy; equal points stay together, as in qtrain.report.sweep.pareto
function paretoFront(shown, axis) {
  const sign = axis.more ? -1 : 1;
  const entries = shown.map((point) => ({ cost: sign * point.cost[axis.key], lost: -accuracyOf(point), point }));
  entries.sort((a, b) => a.cost - b.cost || a.lost - b.lost);
  const front = [];
  for (const entry of entries) {
    const last = front[front.length - 1];
    const equal = last && entry.cost === last.cost && entry.lost === last.lost;
    if (!last || entry.lost < last.lost || equal) front.push(entry);
  }
  return front.map((entry) => entry.point);
}

function hoverText(point) {
  const rows = [`<b>${escaped(point.name)}</b>, ${point.startText}`, `accuracy ${meanText(point)} %`];
  for (const axis of axes) {
    if (known(point.cost[axis.key])) rows.push(`${axis.label}: ${measured(axis, point.cost[axis.key])}`);
  }
  return [...rows, point.marks].join("<br>");
}

// Limits: a slider for accuracy and one for each cost, its stops are the points' own values

const limits = [
  { key: "accuracy", name: "accuracy", least: true, of: accuracyOf, say: percent },
  ...axes.map((axis) => ({
    key: axis.key, name: axis.name, least: axis.more, of: (point) => point.cost[axis.key],
    say: (value) => measured(axis, value),
  })),
];

function freeLimit(limit) {
  limit.stops = [...new Set(points.map(limit.of).filter(known))].sort((a, b) => a - b);
  limit.free = limit.least ? 0 : Math.max(0, limit.stops.length - 1);  // where nothing is left out
  limit.slider.max = Math.max(0, limit.stops.length - 1);
  limit.slider.value = limit.free;
  limit.box.hidden = limit.stops.length < 2;
  showLimit(limit);
}

function showLimit(limit) {
  const at = Number(limit.slider.value), way = limit.least ? "at least" : "at most";
  const text = at === limit.free ? "any" : `${way} ${limit.say(limit.stops[at])}`;
  limit.slider.setAttribute("aria-valuetext", text);
  limit.said.textContent = text;
}

function makeLimit(limit) {
  limit.slider = make("input", { type: "range", id: `limit-${limit.key}`, min: 0, step: 1 });
  limit.said = make("output", { for: limit.slider.id });
  const label = make("label", { for: limit.slider.id }, limit.name);
  limit.box = make("div", { class: "limit" }, label, limit.slider, limit.said);
  limit.slider.oninput = () => {
    showLimit(limit);
    drawScatter();
  };
  freeLimit(limit);
  return limit.box;
}

function within(point) {
  return limits.every((limit) => {
    const at = Number(limit.slider.value), value = limit.of(point);
    if (at === limit.free) return true;
    return known(value) && (limit.least ? value >= limit.stops[at] : value <= limit.stops[at]);
  });
}

// the table has what the plot has, and what has no such cost
function filterTable() {
  const starts = startChecked(), rows = [...byId("points").tBodies[0].rows];
  for (const row of rows) {
    const point = points[Number(row.querySelector("[data-point]").dataset.point)];
    row.hidden = !starts.includes(point.start) || !within(point);
  }
  const left = rows.filter((row) => !row.hidden).length;
  byId("counted").textContent = `${left} of ${rows.length} points are within the limits.`;
}

// Accuracy against a cost

function cellSpots(point, axis) {
  const cells = point.cells.filter((cell) => known(cell[state.kind]) && known(cell.axes[axis.key]));
  return cells.map((cell) => {
    const text = `<b>${escaped(cell.cell)}</b><br>accuracy ${percent(cell[state.kind])}`;
    return { point, x: cell.axes[axis.key], y: cell[state.kind], spread: 0, text };
  });
}

function meanSpot(point, axis) {
  const spread = point.spread[state.kind] || 0;
  return { point, x: point.cost[axis.key], y: accuracyOf(point), spread, text: hoverText(point) };
}

function startTrace(start, shown, axis) {
  const ours = shown.filter((point) => point.start === start), colour = css("--" + start);
  const spots = ours.flatMap((point) => (state.seeds ? cellSpots(point, axis) : [meanSpot(point, axis)]));
  return {
    name: startNames[start], type: "scatter", mode: "markers", x: spots.map((s) => s.x), y: spots.map((s) => s.y),
    error_y: { array: spots.map((s) => s.spread), visible: !state.seeds, thickness: 1.2, width: 3, color: colour },
    customdata: spots.map((s) => s.point.id), hovertext: spots.map((s) => s.text), hoverinfo: "text",
    marker: {
      color: colour, size: state.seeds ? 7 : 10, line: { width: 2, color: colour },
      symbol: spots.map((s) => symbols[start] + (s.point.verdict === "refused" ? "-open" : "")),
    },
  };
}

function drawScatter() {
  filterTable();
  const axis = axes.find((other) => other.key === state.axis);
  if (!axis) {
    byId("missing").textContent = "No cell was exported, so no cost is known.";
    return;
  }
  const starts = startChecked();
  const wanted = points.filter((point) => starts.includes(point.start) && within(point));
  const shown = wanted.filter((point) => known(point.cost[axis.key]) && known(accuracyOf(point)));
  const place = (point) => ({ x: point.cost[axis.key], y: accuracyOf(point) });
  const placed = (some) => ({ x: some.map((point) => place(point).x), y: some.map((point) => place(point).y) });
  const front = paretoFront(shown.filter((point) => point.proof !== "failed"), axis);
  const traces = [{
    name: "Pareto front", type: "scatter", mode: "lines", ...placed(front), hoverinfo: "skip",
    line: { shape: "hv", color: css("--soft"), width: 1.5 },
  }, ...starts.map((start) => startTrace(start, shown, axis)), {
    name: "selected", type: "scatter", mode: "markers", hoverinfo: "skip",
    ...placed(shown.filter((point) => point.id === state.selected)),
    marker: { symbol: "circle-open", size: 20, color: css("--focus"), line: { width: 3 } },
  }];
  const named = (shown.length > 12 ? front : shown).filter((point) => point.start !== "search");
  namesNow = () => {
    const names = named.map((point) => ({ ...place(point), text: point.short, first: axis.more ? "right" : "left" }));
    return placeNames("scatter", names, shown.map(place));
  };
  const costs = shown.map((point) => point.cost[axis.key]);
  const log = Math.min(...costs) > 0 && Math.max(...costs) > 20 * Math.min(...costs);
  const kind = byId("kind").selectedOptions[0].textContent;
  const seen = state.kind === "test_accuracy" ? texts[axis.key] : `Mean accuracy on ${kind} against ${axis.label}`;
  draw("scatter", traces, {
    height: 460, margin: { l: 60, r: 15, t: 10, b: 55 }, yaxis: { title: { text: `accuracy on ${kind}, %` } },
    xaxis: {
      title: { text: axis.label },
      ...(log ? logTicks(costs) : { type: "linear", exponentformat: "SI", nticks: 8 }),
    },
  }, seen).then(writeNames);
  const hidden = wanted.length - shown.length;
  const why = "points are not shown: they failed, or have no such number.";
  byId("missing").textContent = hidden ? `${hidden} of ${wanted.length} ${why}` : "";
}

// names are placed anew where zoom or width have changed
let namesNow = () => [];
const writeNames = () => Plotly.relayout("scatter", { annotations: namesNow() });

// Accuracy by bits

function drawMap() {
  if (!byId("grid")) return;
  const [start, bits] = byId("grid").value.split("|");
  const cells = new Map();  // of several lengths of training the longest
  for (const point of [...points].sort((a, b) => a.totalEpochs - b.totalEpochs)) {
    const ours = point.start === start && point.bits === bits && known(point.weightBits);
    if (ours) cells.set(`${point.weightBits} ${point.actBits}`, point);
  }
  const values = [...cells.values()], means = values.map(accuracyOf).filter(known);
  const low = Math.min(...means), high = Math.max(...means);
  const widths = (key) => [...new Set(values.map((point) => point[key]))].sort((a, b) => a - b);
  const acts = widths("actBits");
  const rows = widths("weightBits").reverse().map((weight) => {
    const row = acts.map((act) => make("td", {}, mapCell(cells.get(`${weight} ${act}`), low, high)));
    return make("tr", {}, make("th", { scope: "row" }, `${weight} W`), ...row);
  });
  const heads = acts.map((act) => make("th", { scope: "col" }, `${act} A`));
  byId("map").replaceChildren(...rows, make("tr", {}, make("td", {}), ...heads));
  const words = "W: bits of weights, A: bits of activations. Mean accuracy, % ";
  const scale = means.length ? [low.toFixed(1), make("i", { class: "scale" }), high.toFixed(1)] : [];
  byId("scale").replaceChildren(words, ...scale);
}

function mapCell(point, low, high) {
  if (!point) return null;
  const mean = accuracyOf(point), share = known(mean) ? (mean - low) / (high - low || 1) : 0;
  const back = known(mean) ? mixed(css("--low"), css("--high"), share) : css("--code");
  const style = `background:${back};color:${inkOn(back)}`, chosen = point.id === state.selected ? "selected" : false;
  const marks = point.marks.split(", ").map((mark) => make("small", {}, sign(mark)));
  return make("button", { type: "button", style, class: chosen, "data-point": point.id, title: point.name },
    make("b", {}, meanText(point, state.kind, 1)), ...marks);
}

function sign(mark) {
  if (/^(proven|FINN takes)/.test(mark)) return `✓ ${mark}`;
  return /failed|refuses/.test(mark) ? `✗ ${mark}` : mark;
}

// The selected point

function select(id, far = true) {
  state.selected = id;
  drawScatter();
  drawMap();
  drawPanel(points[id]);
  if (!far) return;
  byId("said").textContent = `${points[id].name} is selected: all that is known of it stands beside the plot.`;
  if (matchMedia("(max-width: 900px)").matches) byId("panel").scrollIntoView();
}

function factTable(rows) {
  const made = rows.filter(([, value]) => known(value)).map(([name, value]) => (
    make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, value))));
  return make("table", {}, make("tbody", {}, ...made));
}

const note = (text) => make("div", { class: "note" }, text);
const judged = (good, text) => make("div", { class: good ? "good" : "bad" }, `${good ? "✓" : "✗"} ${text}`);
const some = (value, say) => (known(value) ? say(value) : null);

function drawPanel(point) {
  const first = point.cells.find((cell) => cell.estimate) || point.cells.find((cell) => cell.cost) || point.cells[0];
  const cost = first.cost || {}, accuracy = (kind) => some(point.mean[kind], () => `${meanText(point, kind)} %`);
  const options = Object.entries(curveNames).map(([key, name]) => make("option", { value: key }, name));
  const choice = make("select", { id: "curve", "aria-label": "curve" }, ...options);
  choice.value = state.curve;
  choice.onchange = () => {
    state.curve = choice.value;
    drawCurves(point);
  };
  byId("panel").replaceChildren(
    make("h3", {}, point.name),
    ...(point.id === recommended ? [make("p", { class: "good" }, "★ recommended")] : []),
    note(first.parent ? `${point.startText}, from ${first.parent}` : point.startText),
    factTable([
      ["test accuracy", accuracy("test_accuracy")], ["validation accuracy", accuracy("validation_accuracy")],
      ["BOPs an image", some(cost.bops, short)], ["multiply-accumulates an image", some(cost.macs, short)],
      ["memory of weights, bits", some(cost.weight_bits, whole)],
    ]),
    make("h4", {}, "Proof"), ...proofLines(point),
    make("h4", {}, "FINN"), finnLine(point), ...first.lint.map((text) => note(`lint: ${text}`)),
    ...(first.estimate ? estimateLines(first.estimate, first.seed) : []),
    make("h4", {}, "By epoch ", choice), make("div", { id: "curves", role: "img" }),
    make("h4", {}, "Cells"), ...point.cells.map((cell) => cellDetails(cell, cell === first)));
  byId("panel").scrollTop = 0;
  drawCurves(point);
}

// seeds with the same outcome on one line
function proofLines(point) {
  const seeds = new Map();
  for (const cell of point.cells) {
    const { proof, proven } = cell;
    const equal = proof ? `${proof.equal} of ${proof.images} test images equal in graph and torch` : "";
    const answered = proven ? `proven: ${equal}` : `failed: ${equal || cell.error}`;
    const text = known(proven) ? answered : "not reached, or no board was named";
    const key = JSON.stringify([known(proven) ? proven : null, text]);
    seeds.set(key, [...(seeds.get(key) || []), cell.seed]);
  }
  return [...seeds].map(([key, of]) => {
    const [proven, text] = JSON.parse(key), said = `${text} (${of.length > 1 ? "seeds" : "seed"} ${of.join(", ")})`;
    return known(proven) ? judged(proven, said) : note(said);
  });
}

function finnLine(point) {
  const asked = point.cells.filter((cell) => cell.finn).map((cell) => cell.finn);
  const answer = asked.find((finn) => !finn.accepted) || asked[0];
  if (!answer) return note("not asked: no board was named or no compiler is installed");
  return judged(answer.accepted, `${answer.accepted ? "accepted" : "refused"}: ${answer.reason}`);
}

function estimateLines(estimate, seed) {
  const bars = Object.entries(estimate.used).map(([kind, used]) => {
    const has = estimate.available[kind];
    const share = has ? (100 * used) / has : used ? 101 : 0;  // the board has none of it
    const percents = has ? ` (${share.toFixed(share < 10 ? 1 : 0)} %)` : "";
    const bar = make("i", { class: share > 100 ? "over" : false, style: `width:${Math.min(100, share)}%` });
    return make("div", { class: "share" }, make("span", {}, kind), make("span", { class: "track" }, bar),
      make("small", {}, `${whole(used)} of ${whole(has)}${percents}`));
  });
  const latency = `${(estimate.latency_ns / 1e6).toFixed(2)} ms latency`;
  const speed = `${whole(estimate.fps)} frames/s at ${estimate.clock_ns} ns, ${latency}`;
  return [
    make("h4", {}, `FINN's estimate for ${estimate.board} (seed ${seed})`),
    judged(estimate.fits, estimate.fits ? "fits" : "does not fit"),
    judged(estimate.meets_target, `${speed}; ${whole(estimate.target_fps)} asked`), ...bars,
  ];
}

function cellDetails(cell, open) {
  const command = make("pre", {}, cell.command);
  const stages = Object.entries(cell.seconds).filter(([, seconds]) => known(seconds));
  const times = stages.map(([stage, seconds]) => `${stage} ${seconds} s`).join(", ");
  const failed = cell.state === "failed" ? `, failed at ${cell.stage}` : "";
  const button = make("button", { type: "button", class: "copy" }, "Copy the command");
  button.onclick = () => copy(command, button);
  return make("details", { open: open ? "" : false },
    make("summary", {}, `${cell.cell}: ${percent(cell.test_accuracy)}${failed}`),
    cell.error ? make("p", { class: "bad" }, cell.error) : null,
    note(`folder ${cell.folder}`),
    some(cell.best_epoch, () => note(`best epoch ${cell.best_epoch} of ${cell.epochs}; ${times}`)),
    command, button);
}

const curveNames = { validation_accuracy: "validation accuracy, %", train_loss: "training loss", lr: "learning rate" };

// a warm start stands beside the same network from scratch; then the legend has a line a start, else one a seed
function drawCurves(point) {
  const traces = [], pair = known(point.partner);
  const add = (of, width) => of.cells.forEach((cell, i) => {
    const y = cell.curve[state.curve] || [], shape = state.curve === "lr" ? "hv" : "linear";
    traces.push({
      type: "scatter", mode: y.length < 3 ? "lines+markers" : "lines", x: y.map((_, e) => cell.offset + e + 1), y,
      name: pair ? startNames[of.start] : `seed ${cell.seed}`, showlegend: !pair || i === 0,
      text: `${startNames[of.start]}, seed ${cell.seed}`,
      hovertemplate: "%{text}<br>epoch %{x}: %{y:.4g}<extra></extra>",
      line: { color: css("--" + of.start), width, dash: seedDashes[i % seedDashes.length], shape },
    });
  });
  if (pair) add(points[point.partner], 1.2);
  add(point, 2);
  const ends = traces.filter((trace) => trace.y.length).map((trace) => (
    `${trace.text} from ${short(trace.y[0])} to ${short(trace.y[trace.y.length - 1])}`));
  draw("curves", traces, {
    height: 260, margin: { l: 50, r: 8, t: 6, b: 42 }, font: { color: css("--ink"), size: 11 },
    showlegend: traces.length > 1,
    legend: {
      font: { size: 10 }, orientation: "h", y: -0.28, yanchor: "top", itemclick: false, itemdoubleclick: false,
    },
    xaxis: { title: { text: point.start === "scratch" ? "epoch" : "epoch, its ancestors' included" }, tickformat: "d" },
    yaxis: { type: state.curve === "validation_accuracy" ? "linear" : "log" },
  }, `${curveNames[state.curve]} of ${point.name} by epoch: ${ends.join("; ") || "none"}`);
}

redraws.push(drawScatter, drawMap, () => {
  if (known(state.selected)) drawCurves(points[state.selected]);
});
if (axes.length) {
  byId("axis").onchange = (event) => {
    state.axis = event.target.value;
    drawScatter();
  };
}
byId("kind").onchange = (event) => {
  state.kind = event.target.value;
  freeLimit(limits[0]);  // its stops are other accuracies
  redraw();
};
byId("starts").onchange = drawScatter;
byId("free").onclick = () => {
  limits.forEach(freeLimit);
  drawScatter();
};
if (byId("seeds")) {
  byId("seeds").onchange = (event) => {
    state.seeds = event.target.checked;
    drawScatter();
  };
}
if (byId("grid")) byId("grid").onchange = drawMap;
document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-point]");
  if (button) select(Number(button.dataset.point));
});
byId("limits").append(...limits.map(makeLimit));
showTheme();
if (known(recommended)) select(recommended, false);
if (axes.length) {
  byId("scatter").on("plotly_click", (event) => {
    const hit = event.points.find((spot) => known(spot.customdata));
    if (hit) select(hit.customdata);
  });
  byId("scatter").on("plotly_relayout", (change) => {
    if (!("annotations" in change)) writeNames();
  });
}
reachScrolls();
