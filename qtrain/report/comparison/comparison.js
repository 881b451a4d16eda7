// Plots of one comparison or of several: accuracy, differences, curves by epoch. All read the same controls.
const { schedulers, comparisons, curves } = JSON.parse(byId("comparison-data").textContent);
const several = comparisons.length > 1;
const shownSchedulers = () => { const names = checked("#schedulers"); return schedulers.filter((s) => names.includes(s.name)); };
const shownSeeds = () => checked("#seeds").map(Number);
const runsOf = (comparison, scheduler) => comparison.runs.filter((run) => run.scheduler === scheduler.name);
const colourOf = (scheduler) => css("--" + scheduler.variable);
const chosen = () => comparisons[several ? Number(byId("network").value) : 0];
const faded = (colour, share) => colour + Math.round(255 * share).toString(16).padStart(2, "0");

function spreadText(values) {
  const spread = deviation(values);
  return mean(values).toFixed(2) + (known(spread) ? ` ± ${spread.toFixed(2)}` : "");
}

// Test accuracy: a place for each comparison, in it one for each scheduler

function drawAccuracy() {
  const drawn = shownSchedulers(), seeds = shownSeeds(), traces = [], wide = several ? 0.7 : 0.9;
  const place = (c, s) => c + (drawn.length > 1 ? wide * (s / (drawn.length - 1) - 0.5) * (drawn.length - 1) / drawn.length : 0);
  const spots = drawn.map(() => []);
  comparisons.forEach((comparison, c) => {
    for (const seed of seeds) {
      const beside = 0.03 * (seeds.indexOf(seed) - (seeds.length - 1) / 2);  // so that equal runs lie on no other
      const line = drawn.map((scheduler, s) => [place(c, s) + beside / (several ? drawn.length : 1), comparison.runs.find((run) => run.scheduler === scheduler.name && run.seed === seed)]).filter(([, run]) => run);
      if (line.length > 1) traces.push({ mode: "lines", x: line.map(([x]) => x), y: line.map(([, run]) => run.test), line: { color: css("--edge"), width: 1 }, hoverinfo: "skip" });
      for (const [x, run] of line) spots[drawn.findIndex((s) => s.name === run.scheduler)].push([x, run, comparison]);
    }
  });
  drawn.forEach((scheduler, s) => {
    const colour = colourOf(scheduler);
    traces.push({ name: scheduler.name, mode: "markers", x: spots[s].map(([x]) => x), y: spots[s].map(([, run]) => run.test), marker: { color: colour, symbol: scheduler.symbol, size: 9 }, hoverinfo: "text",
      hovertext: spots[s].map(([, run, comparison]) => `<b>${escaped(scheduler.name)}</b>, seed ${run.seed}${several ? `<br>${escaped(comparison.name)}` : ""}<br>test accuracy ${percent(run.test)}`) });
    const means = comparisons.map((comparison, c) => [place(c, s), runsOf(comparison, scheduler).map((run) => run.test), comparison]).filter(([, values]) => values.length);
    if (!byId("means").checked) return;
    traces.push({ name: scheduler.name + ", mean", mode: "markers", x: means.map(([x]) => x), y: means.map(([, values]) => mean(values)), hoverinfo: "text",
      marker: { symbol: "line-ew-open", size: several ? 16 : 34, color: colour, line: { width: 3, color: colour } }, error_y: { array: means.map(([, values]) => deviation(values) || 0), color: colour, thickness: 1.2, width: 4 },
      hovertext: means.map(([, values, comparison]) => `<b>${escaped(scheduler.name)}</b>, mean of ${values.length}${several ? `<br>${escaped(comparison.name)}` : ""}<br>test accuracy ${spreadText(values)} %`) });
  });
  const places = several ? comparisons.map((comparison, c) => [c, comparison.short]) : drawn.map((scheduler, s) => [place(0, s), scheduler.name]);
  draw("accuracy", traces, { height: 380, margin: { l: 55, r: 10, t: 10, b: 40 }, yaxis: { title: { text: "test accuracy, %" } },
    xaxis: { tickvals: places.map(([x]) => x), ticktext: places.map(([, text]) => escaped(text)), range: [-0.6, comparisons.length - 0.4], showgrid: false } });
}

// The challenger minus each scheduler it is held against, with the tolerance it has

function drawDifferences() {
  if (!byId("differences")) return;
  const seeds = shownSeeds(), rows = comparisons.flatMap((comparison) => comparison.differences.map((difference) => [comparison, difference])).reverse();
  const traces = [];
  rows.forEach(([comparison, difference], y) => {
    const scheduler = schedulers.find((s) => s.name === difference.against), colour = colourOf(scheduler);
    const all = Object.entries(difference.seeds), single = all.length > 1 ? all.filter(([seed]) => seeds.includes(Number(seed))) : [];
    traces.push({ mode: "markers", x: single.map(([, value]) => value), y: single.map(() => y), marker: { symbol: "circle-open", size: 7, color: css("--soft") }, hoverinfo: "text",
      hovertext: single.map(([seed, value]) => `seed ${seed}: ${value.toFixed(2)} points`) });
    if (!known(difference.mean)) return;
    const interval = known(difference.low);
    traces.push({ name: difference.against, mode: "markers", x: [difference.mean], y: [y], marker: { color: colour, symbol: scheduler.symbol, size: 12 }, hoverinfo: "text",
      error_x: interval ? { array: [difference.high - difference.mean], arrayminus: [difference.mean - difference.low], color: colour, thickness: 3, width: 7 } : { visible: false },
      hovertext: [`<b>${escaped(comparison.challenger)} minus ${escaped(difference.against)}</b>${several ? `<br>${escaped(comparison.name)}` : ""}<br>${difference.mean.toFixed(2)} points${interval ? `, 95 % interval ${difference.low.toFixed(2)} to ${difference.high.toFixed(2)}` : ", one seed has no interval"}<br>${difference.answer}`] });
  });
  const edges = traces.flatMap((trace) => trace.x).concat(rows.flatMap(([, d]) => [d.low, d.high].filter(known)), comparisons.map((c) => -c.tolerance), 0);
  const low = Math.min(...edges), high = Math.max(...edges), room = 0.08 * (high - low || 1);
  const lines = [[0, "solid"], ...[...new Set(comparisons.map((c) => c.tolerance))].map((tolerance) => [-tolerance, "dash"])];
  draw("differences", traces, { height: 110 + 46 * rows.length, margin: { l: 20, r: 15, t: 24, b: 45 },
    xaxis: { title: { text: "points" }, range: [low - room, high + room] },
    yaxis: { tickvals: rows.map((_, y) => y), ticktext: rows.map(([comparison, d]) => escaped((several ? comparison.short + "<br>" : "minus ") + d.against).replace("&lt;br>", "<br>")), range: [-0.6, rows.length - 0.4], showgrid: false },
    shapes: lines.map(([x, dash]) => ({ type: "line", x0: x, x1: x, y0: 0, y1: 1, yref: "paper", line: { color: css("--soft"), width: 1.5, dash } })),
    annotations: lines.map(([x, dash]) => ({ x, y: 1, yref: "paper", yanchor: "bottom", showarrow: false, xanchor: dash === "dash" ? "right" : "left", text: dash === "dash" ? `tolerance ${-x}` : "equal", font: { size: 11 } })) });
}

// Curves by epoch, and the same values in a table at the epoch of the slider

const curve = () => document.querySelector("#curve input:checked").value;
const longest = (comparison) => Math.max(1, ...comparison.runs.map((run) => run.curves.lr.length));
const stepped = (kind) => kind === "lr";

function drawCurves() {
  const comparison = chosen(), kind = curve(), seeds = shownSeeds(), look = curves[kind], traces = [];
  const epoch = Number(byId("epoch").value);
  for (const scheduler of shownSchedulers()) {
    const runs = runsOf(comparison, scheduler), colour = colourOf(scheduler), single = runs.length === 1;
    if (!runs.length) continue;
    const line = { color: colour, dash: scheduler.dash, width: 2, shape: stepped(kind) ? "hvh" : "linear" };
    for (const run of runs.filter((run) => seeds.includes(run.seed))) {
      const y = run.curves[kind];
      traces.push({ name: `${scheduler.name}, seed ${run.seed}`, mode: "lines+markers", x: y.map((_, e) => e + 1), y, line: single || !byId("means").checked ? line : { ...line, width: 1 }, opacity: single || !byId("means").checked ? 1 : 0.55,
        marker: { color: colour, symbol: scheduler.symbol, size: single ? 7 : 4, maxdisplayed: 12 }, hovertemplate: `<b>${escaped(scheduler.name)}</b>, seed ${run.seed}<br>epoch %{x}: %{y:.4g}<extra></extra>` });
      if (stepped(kind) && run.draws.length) traces.push({ name: `${scheduler.name}, last draws`, mode: "markers", x: run.draws.map(([e]) => e), y: run.draws.map(([, rate]) => rate), marker: { color: faded(colour, 0.45), size: 4 }, hovertemplate: `<b>${escaped(scheduler.name)}</b>, one layer's last draw, seed ${run.seed}<br>epoch %{x}: %{y:.4g}<extra></extra>` });
    }
    if (single || !byId("means").checked) continue;
    const byEpoch = runs[0].curves[kind].map((_, e) => runs.map((run) => run.curves[kind][e]).filter(known)), x = byEpoch.map((_, e) => e + 1);
    const means = byEpoch.map((values) => (values.length ? mean(values) : null));
    const edge = (side) => byEpoch.map((values, e) => (values.length ? Math.max(Math.min(...values), Math.min(Math.max(...values), means[e] + side * (deviation(values) || 0))) : null));
    traces.unshift({ mode: "lines", x: [...x, ...[...x].reverse()], y: [...edge(1), ...edge(-1).reverse()], fill: "toself", fillcolor: faded(colour, 0.13), line: { width: 0 }, hoverinfo: "skip" });
    traces.push({ name: `${scheduler.name}, mean`, mode: "lines+markers", x, y: means, line: { ...line, width: 2.5 }, marker: { color: colour, symbol: scheduler.symbol, size: 8, maxdisplayed: 12 }, hovertemplate: `<b>${escaped(scheduler.name)}</b>, mean of ${runs.length}<br>epoch %{x}: %{y:.4g}<extra></extra>` });
  }
  const positive = traces.flatMap((trace) => trace.y).filter((value) => value > 0);
  draw("curves", traces, { height: 400, margin: { l: 60, r: 10, t: 10, b: 45 }, xaxis: { title: { text: "epoch" }, tickformat: "d", ...(longest(comparison) < 9 ? { dtick: 1 } : {}), range: [0.5, longest(comparison) + 0.5] },
    yaxis: { title: { text: look.title }, ...(look.log && positive.length ? logTicks(positive) : { type: "linear" }) },
    shapes: [{ type: "line", x0: epoch, x1: epoch, y0: 0, y1: 1, yref: "paper", line: { color: css("--soft"), width: 1, dash: "dot" } }] }, comparison.texts[kind]);
  byId("curve-words").textContent = look.words;
  showEpoch();
}

function showEpoch() {
  const comparison = chosen(), kind = curve(), seeds = shownSeeds(), epoch = Number(byId("epoch").value);
  const number = (value) => (known(value) ? (kind === "validation_accuracy" ? value.toFixed(2) : String(+value.toPrecision(4))) : "–");
  byId("epoch").max = longest(comparison);
  byId("epoch-shown").textContent = `${epoch} of ${longest(comparison)}`;
  const rows = shownSchedulers().map((scheduler) => {
    const runs = runsOf(comparison, scheduler), values = runs.map((run) => run.curves[kind][epoch - 1]).filter(known);
    return make("tr", {}, make("th", { scope: "row" }, scheduler.name), make("td", {}, values.length ? number(mean(values)) : "–"),
      ...(comparison.seeds.length > 1 ? seeds.map((seed) => { const run = runs.find((r) => r.seed === seed); return make("td", {}, run ? number(run.curves[kind][epoch - 1]) : "–"); }) : []));
  });
  const heads = ["scheduler", comparison.seeds.length > 1 ? "mean" : `seed ${comparison.seeds[0]}`, ...(comparison.seeds.length > 1 ? seeds.map((seed) => `seed ${seed}`) : [])];
  byId("at-epoch").replaceChildren(make("caption", {}, `${curves[kind].title} at epoch ${epoch}`), make("thead", {}, make("tr", {}, ...heads.map((text) => make("th", { scope: "col" }, text)))), make("tbody", {}, ...rows));
}

redraws.push(drawAccuracy, drawDifferences, drawCurves);
byId("shown").onchange = redraw;
byId("curve").onchange = drawCurves;
byId("epoch").oninput = () => {
  const epoch = Number(byId("epoch").value);
  Plotly.relayout("curves", { "shapes[0].x0": epoch, "shapes[0].x1": epoch });
  showEpoch();
};
if (several) byId("network").onchange = () => { byId("epoch").max = longest(chosen()); byId("epoch").value = longest(chosen()); drawCurves(); };
byId("epoch").max = longest(chosen());
byId("epoch").value = longest(chosen());
showTheme();
reachScrolls();
