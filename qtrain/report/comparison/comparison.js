// Plots of one comparison or of several: accuracy, differences, curves by epoch. All read the same controls.
const { schedulers, comparisons, curves } = JSON.parse(byId("comparison-data").textContent);
const several = comparisons.length > 1;
const colourOf = (scheduler) => css("--" + scheduler.variable);
const runsOf = (comparison, scheduler) => comparison.runs.filter((run) => run.scheduler === scheduler.name);
const withMeans = () => byId("means").checked;
const shownSeeds = () => checked("#seeds").map(Number);

function shownSchedulers() {
  const names = checked("#schedulers");
  return schedulers.filter((scheduler) => names.includes(scheduler.name));
}

function faded(colour, share) {
  return colour + Math.round(255 * share).toString(16).padStart(2, "0");
}

function spreadText(values) {
  const spread = deviation(values);
  return mean(values).toFixed(2) + (known(spread) ? ` ± ${spread.toFixed(2)}` : "");
}

// lines of a text under the mouse, the first one bold where it is a name
function hoverLines(name, rest, comparison, ...lines) {
  const first = `<b>${escaped(name)}</b>${rest}`;
  return [first, ...(several ? [escaped(comparison.name)] : []), ...lines].join("<br>");
}

// Test accuracy: a place for each comparison, in it one for each scheduler

function drawAccuracy() {
  const drawn = shownSchedulers(), seeds = shownSeeds(), traces = [];
  const wide = several ? 0.7 : 0.9;  // of a comparison's place
  const place = (c, s) => c + (wide * (s - (drawn.length - 1) / 2)) / Math.max(1, drawn.length);
  const beside = (seed) => (0.03 * (seeds.indexOf(seed) - (seeds.length - 1) / 2)) / (several ? drawn.length : 1);
  const spots = drawn.map(() => []);
  comparisons.forEach((comparison, c) => {
    for (const seed of seeds) {
      const line = [];
      drawn.forEach((scheduler, s) => {
        const run = runsOf(comparison, scheduler).find((other) => other.seed === seed);
        if (!run) return;
        const spot = { x: place(c, s) + beside(seed), y: run.test, run, comparison };  // equal runs lie on no other
        spots[s].push(spot);
        line.push(spot);
      });
      traces.push({
        mode: "lines", x: line.map((spot) => spot.x), y: line.map((spot) => spot.y),
        line: { color: css("--edge"), width: 1 }, hoverinfo: "skip",
      });
    }
  });
  drawn.forEach((scheduler, s) => {
    const colour = colourOf(scheduler);
    traces.push({
      name: scheduler.name, mode: "markers", x: spots[s].map((spot) => spot.x), y: spots[s].map((spot) => spot.y),
      marker: { color: colour, symbol: scheduler.symbol, size: 9 }, hoverinfo: "text",
      hovertext: spots[s].map((spot) => hoverLines(
        scheduler.name, `, seed ${spot.run.seed}`, spot.comparison, `test accuracy ${percent(spot.y)}`)),
    });
    if (!withMeans()) return;
    const means = [];
    comparisons.forEach((comparison, c) => {
      const values = runsOf(comparison, scheduler).map((run) => run.test);
      if (values.length) means.push({ x: place(c, s), values, comparison });
    });
    traces.push({
      name: `${scheduler.name}, mean`, mode: "markers", x: means.map((m) => m.x), y: means.map((m) => mean(m.values)),
      marker: { symbol: "line-ew-open", size: several ? 16 : 34, color: colour, line: { width: 3, color: colour } },
      error_y: { array: means.map((m) => deviation(m.values) || 0), color: colour, thickness: 1.2, width: 4 },
      hoverinfo: "text",
      hovertext: means.map((m) => hoverLines(
        scheduler.name, `, mean of ${m.values.length}`, m.comparison, `test accuracy ${spreadText(m.values)} %`)),
    });
  });
  const places = several
    ? comparisons.map((comparison, c) => [c, comparison.short])
    : drawn.map((scheduler, s) => [place(0, s), scheduler.name]);
  draw("accuracy", traces, {
    height: 380, margin: { l: 55, r: 10, t: 10, b: 40 }, yaxis: { title: { text: "test accuracy, %" } },
    xaxis: {
      tickvals: places.map(([x]) => x), ticktext: places.map(([, text]) => escaped(text)),
      range: [-0.6, comparisons.length - 0.4], showgrid: false,
    },
  });
}

// The challenger minus each scheduler it is held against, with the tolerance it has

function differenceTraces(comparison, difference, y) {
  const scheduler = schedulers.find((other) => other.name === difference.against), colour = colourOf(scheduler);
  const seeds = shownSeeds(), all = Object.entries(difference.seeds);
  const single = all.length > 1 ? all.filter(([seed]) => seeds.includes(Number(seed))) : [];
  const dots = {
    mode: "markers", x: single.map(([, value]) => value), y: single.map(() => y), hoverinfo: "text",
    marker: { symbol: "circle-open", size: 7, color: css("--soft") },
    hovertext: single.map(([seed, value]) => `seed ${seed}: ${value.toFixed(2)} points`),
  };
  if (!known(difference.mean)) return [dots];
  const { low, high, mean: middle } = difference;
  const range = known(low) ? `95 % interval ${low.toFixed(2)} to ${high.toFixed(2)}` : "one seed has no interval";
  return [dots, {
    name: difference.against, mode: "markers", x: [middle], y: [y], hoverinfo: "text",
    marker: { color: colour, symbol: scheduler.symbol, size: 12 },
    error_x: known(low)
      ? { array: [high - middle], arrayminus: [middle - low], color: colour, thickness: 3, width: 7 }
      : { visible: false },
    hovertext: [hoverLines(`${comparison.challenger} minus ${difference.against}`, "", comparison,
      `${middle.toFixed(2)} points, ${range}`, difference.answer)],
  }];
}

function drawDifferences() {
  if (!byId("differences")) return;
  const pairs = (comparison) => comparison.differences.map((found) => [comparison, found]);
  const rows = comparisons.flatMap(pairs).reverse();
  const traces = rows.flatMap(([comparison, found], y) => differenceTraces(comparison, found, y));
  const tolerances = [...new Set(comparisons.map((comparison) => comparison.tolerance))];
  const lines = [{ x: 0, dash: "solid", text: "equal" },
    ...tolerances.map((tolerance) => ({ x: -tolerance, dash: "dash", text: `tolerance ${tolerance}` }))];
  const edges = [...traces.flatMap((trace) => trace.x), ...lines.map((line) => line.x),
    ...rows.flatMap(([, found]) => [found.low, found.high].filter(known))];
  const low = Math.min(...edges), high = Math.max(...edges), room = 0.08 * (high - low || 1);
  const before = (comparison) => (several ? `${escaped(comparison.short)}<br>` : "minus ");
  const names = rows.map(([comparison, found]) => before(comparison) + escaped(found.against));
  draw("differences", traces, {
    height: 110 + 14 * lines.length + 46 * rows.length, margin: { l: 20, r: 15, t: 10 + 14 * lines.length, b: 45 },
    xaxis: { title: { text: "points" }, range: [low - room, high + room] },
    yaxis: { tickvals: rows.map((_, y) => y), ticktext: names, range: [-0.6, rows.length - 0.4], showgrid: false },
    shapes: lines.map(({ x, dash }) => ({
      type: "line", x0: x, x1: x, y0: 0, y1: 1, yref: "paper", line: { color: css("--soft"), width: 1.5, dash },
    })),
    annotations: lines.map(({ x, text }, row) => ({  // one above the other, each to the side where there is room
      x, y: 1, yref: "paper", yanchor: "bottom", yshift: 14 * row, xanchor: 2 * x > low + high ? "right" : "left", text,
      showarrow: false, font: { size: 11 },
    })),
  });
}

// Curves by epoch, and the same values in a table at the epoch of the slider

const chosen = () => comparisons[several ? Number(byId("network").value) : 0];
const curve = () => document.querySelector("#curve input:checked").value;
const longest = (comparison) => Math.max(1, ...comparison.runs.map((run) => run.curves.lr.length));

// single runs are thin where there is a mean to see
function runTraces(scheduler, runs, kind, line) {
  const thin = withMeans() && runs.length > 1, colour = colourOf(scheduler), traces = [];
  for (const run of runs.filter((other) => shownSeeds().includes(other.seed))) {
    const y = run.curves[kind], name = `<b>${escaped(scheduler.name)}</b>`;
    const value = `epoch %{x}: %{y:.4g}<extra></extra>`;
    traces.push({
      name: `${scheduler.name}, seed ${run.seed}`, mode: "lines+markers", x: y.map((_, e) => e + 1), y,
      line: thin ? { ...line, width: 1 } : line, opacity: thin ? 0.55 : 1,
      marker: { color: colour, symbol: scheduler.symbol, size: thin ? 4 : 7, maxdisplayed: 12 },
      hovertemplate: `${name}, seed ${run.seed}<br>${value}`,
    });
    if (kind === "lr" && run.draws.length) {
      traces.push({
        name: `${scheduler.name}, last draws`, mode: "markers", x: run.draws.map(([e]) => e),
        y: run.draws.map(([, rate]) => rate), marker: { color: faded(colour, 0.45), size: 4 },
        hovertemplate: `${name}, one layer's last draw, seed ${run.seed}<br>${value}`,
      });
    }
  }
  return traces;
}

// mean over all seeds and, behind it, one standard deviation, never beyond the seeds' range: a log axis ends at 0
function meanTraces(scheduler, runs, kind, line) {
  const byEpoch = runs[0].curves[kind].map((_, e) => runs.map((run) => run.curves[kind][e]).filter(known));
  const x = byEpoch.map((_, e) => e + 1), means = byEpoch.map((values) => (values.length ? mean(values) : null));
  const edge = (side) => byEpoch.map((values, e) => {
    if (!values.length) return null;
    const far = means[e] + side * (deviation(values) || 0);
    return Math.max(Math.min(...values), Math.min(Math.max(...values), far));
  });
  const colour = colourOf(scheduler);
  return [{
    mode: "lines", x: [...x, ...[...x].reverse()], y: [...edge(1), ...edge(-1).reverse()], fill: "toself",
    fillcolor: faded(colour, 0.13), line: { width: 0 }, hoverinfo: "skip",
  }, {
    name: `${scheduler.name}, mean`, mode: "lines+markers", x, y: means, line: { ...line, width: 2.5 },
    marker: { color: colour, symbol: scheduler.symbol, size: 8, maxdisplayed: 12 },
    hovertemplate: `<b>${escaped(scheduler.name)}</b>, mean of ${runs.length}<br>epoch %{x}: %{y:.4g}<extra></extra>`,
  }];
}

function drawCurves() {
  const comparison = chosen(), kind = curve(), look = curves[kind], last = longest(comparison);
  const epoch = Number(byId("epoch").value), traces = [];
  for (const scheduler of shownSchedulers()) {
    const runs = runsOf(comparison, scheduler);
    if (!runs.length) continue;
    const shape = kind === "lr" ? "hvh" : "linear";  // a rate holds for its epoch
    const line = { color: colourOf(scheduler), dash: scheduler.dash, width: 2, shape };
    traces.push(...runTraces(scheduler, runs, kind, line));
    if (withMeans() && runs.length > 1) traces.push(...meanTraces(scheduler, runs, kind, line));
  }
  const positive = traces.flatMap((trace) => trace.y).filter((value) => value > 0);
  draw("curves", traces, {
    height: 400, margin: { l: 60, r: 10, t: 10, b: 45 },
    xaxis: { title: { text: "epoch" }, tickformat: "d", range: [0.5, last + 0.5], ...(last < 9 ? { dtick: 1 } : {}) },
    yaxis: { title: { text: look.title }, ...(look.log && positive.length ? logTicks(positive) : { type: "linear" }) },
    shapes: [{
      type: "line", x0: epoch, x1: epoch, y0: 0, y1: 1, yref: "paper",
      line: { color: css("--soft"), width: 1, dash: "dot" },
    }],
  }, comparison.texts[kind]);
  byId("curve-words").textContent = look.words;
  showEpoch();
}

function showEpoch() {
  const comparison = chosen(), kind = curve(), epoch = Number(byId("epoch").value), last = longest(comparison);
  const seeds = comparison.seeds.length > 1 ? shownSeeds() : [];  // a single one is its own mean
  const digits = (value) => (kind === "validation_accuracy" ? value.toFixed(2) : String(+value.toPrecision(4)));
  const cell = (value) => make("td", {}, known(value) ? digits(value) : "–");
  const at = (run) => (run ? run.curves[kind][epoch - 1] : null);
  const rows = shownSchedulers().map((scheduler) => {
    const runs = runsOf(comparison, scheduler), values = runs.map(at).filter(known);
    const single = seeds.map((seed) => cell(at(runs.find((run) => run.seed === seed))));
    const first = cell(values.length ? mean(values) : null);
    return make("tr", {}, make("th", { scope: "row" }, scheduler.name), first, ...single);
  });
  const first = comparison.seeds.length > 1 ? "mean" : `seed ${comparison.seeds[0]}`;
  const heads = ["scheduler", first, ...seeds.map((seed) => `seed ${seed}`)];
  byId("epoch-shown").textContent = `${epoch} of ${last}`;
  byId("at-epoch").replaceChildren(
    make("caption", {}, `${curves[kind].title} at epoch ${epoch}`),
    make("thead", {}, make("tr", {}, ...heads.map((text) => make("th", { scope: "col" }, text)))),
    make("tbody", {}, ...rows));
  reachScrolls();
}

function lastEpoch() {
  byId("epoch").max = longest(chosen());
  byId("epoch").value = longest(chosen());
}

redraws.push(drawAccuracy, drawDifferences, drawCurves);
byId("shown").onchange = redraw;
byId("curve").onchange = drawCurves;
byId("epoch").oninput = () => {
  const epoch = Number(byId("epoch").value);
  Plotly.relayout("curves", { "shapes[0].x0": epoch, "shapes[0].x1": epoch });
  showEpoch();
};
if (several) {
  byId("network").onchange = () => {
    lastEpoch();
    drawCurves();
  };
}
lastEpoch();
showTheme();
reachScrolls();
