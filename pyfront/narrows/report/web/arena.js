/* SPDX-License-Identifier: Apache-2.0 */
/* The arena over time: who stands where and when, how much is in use, and who makes the peak. */
"use strict";

const KINDS = ["ring", "variable", "state", "scratch"];
const SHADES = [1, 1, 0.62, 0.36];
const KIND_WORDS = ["tensor", "variable", "state of", "scratch of"];
/* Pixels that a block needs at least so that its name stands in it. */
const LABEL = { width: 64, height: 13 };

/* clock: what the axis counts; at: where on it each unit of time begins, and the last one ends. */
const arena = { map: null, live: null, held: null, clock: 0, at: [0] };
const CLOCKS = ["predicted work", "firings"];

/* The unpacked arena of a plan, ready to be looked up. */
function readArena(detail) {
  const tenants = detail.tenants.map(([kind, number, offset, slots]) => {
    const stage = kind >= 2 ? detail.stages[number] : null;
    const tensor = stage === null ? number : stage.output >= 0 ? stage.output : stage.inputs[0];
    return { kind, number, tensor, offset, slots: slots.map((slot) => readSlot(offset, slot)) };
  });
  for (const tenant of tenants) {
    tenant.low = Math.min(...tenant.slots.map((slot) => slot.low));
    tenant.high = Math.max(...tenant.slots.map((slot) => slot.high));
  }
  const sums = (steps) => {
    let sum = 0;
    return steps.map((step) => (sum += step));
  };
  const rows = new Map(
    Object.entries(detail.rows).map(([tensor, [births, deaths]]) => [
      Number(tensor),
      { births: sums(births), deaths: sums(deaths) },
    ]),
  );
  return { ...detail, tenants, rows };
}

function readSlot(offset, [at, size, spans]) {
  const starts = new Int32Array(spans.length / 2);
  const ends = new Int32Array(spans.length / 2);
  let time = 0;
  for (let i = 0; i < starts.length; i++) {
    starts[i] = time + spans[2 * i];
    time = ends[i] = starts[i] + spans[2 * i + 1];
  }
  return { low: offset + at, high: offset + at + size, starts, ends };
}

/* Whether a slot lives in a unit of time. */
function lives(slot, time) {
  const next = above(slot.starts, time);
  return next > 0 && slot.ends[next - 1] > time;
}

const tensorName = (detail, tensor) => detail.tensors[tensor][0];

const stageTensor = (stage) => (stage.output >= 0 ? stage.output : stage.inputs[0]);

/* Rows of a tensor of which something lives during a firing: [first, last], or null. */
function liveRows(detail, tensor, firing) {
  const rows = detail.rows.get(tensor);
  if (rows === undefined) return null;
  const first = above(rows.deaths, firing - 1);
  const last = above(rows.births, firing) - 1;
  return first <= last ? [first, last] : null;
}

/* Who is there in a unit of time, with how many bytes; the largest first. */
function heldAt(detail, time) {
  return detail.tenants
    .map((tenant) => {
      const live = tenant.slots.filter((slot) => lives(slot, time));
      return { tenant, size: live.reduce((sum, slot) => sum + slot.high - slot.low, 0) };
    })
    .filter(({ size }) => size > 0)
    .sort((a, b) => b.size - a.size || a.tenant.offset - b.tenant.offset);
}

/* Rows in words: what of a tensor lives. */
function rowWords(detail, tenant, firing) {
  if (tenant.kind !== 0) return null;
  const [, height] = detail.tensors[tenant.tensor];
  const rows = liveRows(detail, tenant.tensor, firing);
  if (rows === null) return null;
  return `row${rows[0] === rows[1] ? "" : "s"} ${range(...rows)} of ${count(height)}`;
}

const arenaBytes = (detail) => detail.memories.reduce((sum, size) => sum + size, 0);

/* Where units of time begin on the axis: by what a firing of their stages takes on average, or by
 * number. A firing that computes nothing still takes a little. */
function clockOf(detail) {
  const times = new Array(detail.live.length + 1).fill(0);
  const fired = new Array(detail.stages.length).fill(0);
  for (const stage of detail.at) fired[stage] += 1;
  const takes = detail.stages.map((stage, i) => (stage.instructions ?? stage.macs) / (fired[i] || 1));
  const all = detail.stages.reduce((sum, stage) => sum + (stage.instructions ?? stage.macs), 0);
  const least = Math.max(1, (0.02 * all) / times.length);
  for (let i = 0; i < detail.at.length; i++) {
    const step = arena.clock === 1 ? detail.unit : Math.max(least, takes[detail.at[i]] || 0);
    times[i + 1] = times[i] + step;
  }
  return times;
}

function drawArena() {
  const detail = state.detail;
  const size = Math.max(arenaBytes(detail), 1);
  arena.held = null;
  arena.at = clockOf(detail);
  const end = Math.max(1, arena.at[arena.at.length - 1]);
  const predicted = detail.stages.some((stage) => stage.instructions !== undefined);
  const words = arena.clock === 1 ? "firing" : `${predicted ? "instructions" : "MACs"}, about`;
  choose(byId("arena-clock"), CLOCKS, arena.clock, (i) => {
    arena.clock = i;
    drawArena();
  });
  /* Ranges go both ways; each plot follows the other. */
  const follow = (other) => (chart, key) => {
    const target = arena[other];
    if (key !== "x" || !target) return;
    const { min, max } = chart.scales.x;
    if (target.scales.x.min !== min || target.scales.x.max !== max) {
      target.setScale("x", { min, max });
    }
  };
  const common = (own, other) => ({
    cursor: {
      points: { show: false },
      y: own === "map",
      drag: { x: true, y: false, setScale: true },
      sync: { key: "arena", setSeries: false },
    },
    hooks: {
      setScale: [follow(other)],
      setCursor: [(chart) => pointAtArena(chart, own)],
      ready: [(chart) => chart.over.addEventListener("click", () => holdMoment(chart))],
      draw: [own === "map" ? drawTenants : drawPeak],
    },
  });
  const xs = arena.at;
  const live = [...detail.live, detail.live[detail.live.length - 1] || 0];
  const times = { time: false, range: (chart, min, max) => [Math.max(0, min), Math.min(end, max)] };
  arena.map = arena.live = null;
  arena.live = makeChart(
    byId("arena-live"),
    {
      ...common("live", "map"),
      scales: { x: times, y: { range: [0, size] } },
      axes: [
        axis(undefined, each(() => ""), { size: 6, ticks: { show: false } }),
        axis("in use", each(kibibytes), { size: 66, space: 26, incrs: BINARY }),
      ],
      series: [
        {},
        {
          stroke: () => colour("accent"),
          fill: () => `color-mix(in srgb, ${colour("accent")} 18%, transparent)`,
          width: 1.25,
          points: { show: false },
          paths: uPlot.paths.stepped({ align: 1 }),
        },
      ],
    },
    [xs, live],
    () => 110,
  );
  arena.map = makeChart(
    byId("arena-map"),
    {
      ...common("map", "live"),
      scales: { x: times, y: { range: [0, size] } },
      axes: [axis(words, arena.clock === 1 ? each(count) : briefTicks), axis("place", each(kibibytes), { size: 66, incrs: BINARY })],
      series: [{}, { stroke: "transparent", points: { show: false }, paths: () => null }],
    },
    [xs, xs.map(() => 0)],
    () => (narrow() ? 300 : 420),
  );
  legend(byId("arena-legend"), [
    [hue(0), "tensors and variables, a colour each"],
    [`color-mix(in srgb, ${hue(0)} 62%, transparent)`, "paler: what a stage keeps (state)"],
    [`color-mix(in srgb, ${hue(0)} 36%, transparent)`, "palest: scratch of a firing"],
    [".dash", "the fullest moment"],
  ]);
  showMoment(detail.peak === null ? null : detail.peak.firing);
}

/* All blocks that live in the visible time; those too short for a pixel share it. */
function drawTenants(chart) {
  const detail = state.detail;
  const { ctx } = chart;
  const { left, top, width, height } = chart.bbox;
  const scale = devicePixelRatio;
  const { min, max } = chart.scales.x;
  const perUnit = width / (max - min);
  const across = (time) => left + (arena.at[time] - min) * perUnit;
  const first = above(arena.at, min) - 1;
  const end = above(arena.at, max);
  ctx.save();
  ctx.beginPath();
  ctx.rect(left, top, width, height);
  ctx.clip();
  const labels = [];
  for (const tenant of detail.tenants) {
    const dimmed = state.tensor !== null && state.tensor !== tenant.tensor;
    ctx.fillStyle = hue(tenant.tensor);
    ctx.globalAlpha = SHADES[tenant.kind] * (dimmed ? 0.16 : 1);
    let widest = { width: 0 };
    for (const slot of tenant.slots) {
      const bottom = chart.valToPos(slot.low, "y", true);
      const tall = Math.max(1, bottom - chart.valToPos(slot.high, "y", true));
      let i = Math.max(0, above(slot.starts, first) - 1);
      while (i < slot.starts.length && slot.starts[i] < end) {
        const from = across(slot.starts[i]);
        let to = across(slot.ends[i]);
        while (i + 1 < slot.starts.length && across(slot.starts[i + 1]) < to + 0.5) {
          i += 1;
          to = Math.max(to, across(slot.ends[i]));
        }
        i += 1;
        if (to < left) continue;
        const wide = Math.max(1, to - from);
        ctx.fillRect(from, bottom - tall, wide, tall);
        const seen = Math.min(to, left + width) - Math.max(from, left);
        if (seen > widest.width && tall >= LABEL.height * scale) {
          widest = { x: Math.max(from, left), y: bottom - tall / 2, width: seen };
        }
      }
    }
    if (widest.width >= LABEL.width * scale && tenant.kind < 3 && !dimmed) {
      labels.push({ tenant, ...widest });
    }
  }
  ctx.globalAlpha = 1;
  drawLabels(chart, labels);
  markMoment(chart);
  ctx.restore();
}

function drawLabels(chart, labels) {
  const { ctx } = chart;
  const scale = devicePixelRatio;
  ctx.font = `${11 * scale}px system-ui, sans-serif`;
  ctx.textBaseline = "middle";
  ctx.textAlign = "left";
  ctx.lineJoin = "round";
  for (const { tenant, x, y, width } of labels) {
    const text = nameOf(tensorName(state.detail, tenant.tensor));
    const room = width - 8 * scale;
    let shown = text;
    while (shown.length > 4 && ctx.measureText(shown).width > room) {
      shown = `…${shown.slice(shown.startsWith("…") ? 2 : 1)}`;
    }
    if (ctx.measureText(shown).width > room) continue;
    ctx.strokeStyle = "rgb(0 0 0 / 0.5)";
    ctx.lineWidth = 2.5 * scale;
    ctx.strokeText(shown, x + 4 * scale, y);
    ctx.fillStyle = "#fff";
    ctx.fillText(shown, x + 4 * scale, y);
  }
}

function drawPeak(chart) {
  chart.ctx.save();
  markMoment(chart);
  chart.ctx.restore();
}

/* Dashed at the fullest moment, solid at the one that is held. */
function markMoment(chart) {
  const { ctx } = chart;
  const { left, top, width, height } = chart.bbox;
  const { peak, unit } = state.detail;
  const lines = [];
  if (peak !== null) lines.push([peak.firing, [5, 4]]);
  if (arena.held !== null) lines.push([arena.held, []]);
  for (const [firing, dash] of lines) {
    const x = chart.valToPos(middleOf(Math.floor(firing / unit)), "x", true);
    if (x < left || x > left + width) continue;
    ctx.beginPath();
    ctx.setLineDash(dash.map((n) => n * devicePixelRatio));
    ctx.strokeStyle = colour("peak");
    ctx.lineWidth = 1.5 * devicePixelRatio;
    ctx.moveTo(x, top);
    ctx.lineTo(x, top + height);
    ctx.stroke();
  }
}

const middleOf = (time) => (arena.at[time] + arena.at[time + 1]) / 2;

/* The unit of time under the cursor. */
function timeAt(chart) {
  const time = above(arena.at, chart.posToVal(chart.cursor.left, "x")) - 1;
  return Math.max(0, Math.min(state.detail.live.length - 1, time));
}

function pointAtArena(chart, own) {
  const { left, top, event } = chart.cursor;
  if (left < 0 || top < 0) {
    if (event) tip.hide();
    return;
  }
  /* A synchronized cursor is not the one that is pointed with. */
  if (!event || event.target !== chart.over) return;
  const detail = state.detail;
  const time = timeAt(chart);
  const firing = time * detail.unit;
  const stage = detail.stages[detail.at[time]];
  const moment = make(
    "div",
    {},
    `firing ${count(firing)}: ${nameOf(tensorName(detail, stageTensor(stage)))} is computed`,
  );
  const use = make("div", {}, `${bytes(detail.live[time])} of ${bytes(arenaBytes(detail))} in use`);
  const fullest = detail.peak && Math.floor(detail.peak.firing / detail.unit) === time;
  const why = fullest ? small("this is the fullest moment") : null;
  const tenant = own === "map" ? tenantAt(chart, time) : null;
  if (tenant === null) {
    const words = own === "map" ? strong("nothing lives here") : null;
    tip.show(...pointer(chart), ...[words, moment, use, why]);
    return;
  }
  const name = tensorName(detail, tenant.tensor);
  const rows = rowWords(detail, tenant, firing);
  const share = tenant.slots.filter((s) => lives(s, time)).reduce((n, s) => n + s.high - s.low, 0);
  tip.show(
    ...pointer(chart),
    strong(`${tenant.kind < 2 ? "" : `${KIND_WORDS[tenant.kind]} `}${nameOf(name)}`),
    make("div", {}, `${KINDS[tenant.kind]}: ${bytes(share)} live at ${count(tenant.low)}`),
    rows === null ? null : make("div", {}, `${rows} live`),
    moment,
    use,
    why,
    fullLine(name),
  );
}

/* Who lives under the cursor. */
function tenantAt(chart, time) {
  const place = chart.posToVal(chart.cursor.top, "y");
  const isAt = (slot) => slot.low <= place && place < slot.high && lives(slot, time);
  return state.detail.tenants.find((tenant) => tenant.slots.some(isAt)) || null;
}

function holdMoment(chart) {
  if (chart.cursor.left < 0) return;
  const time = timeAt(chart);
  const tenant = chart === arena.map ? tenantAt(chart, time) : null;
  arena.held = time * state.detail.unit;
  showMoment(arena.held);
  selectTensor(tenant === null || tenant.tensor === state.tensor ? null : tenant.tensor);
}

/* Who is there during a firing, and why. */
function showMoment(firing) {
  const detail = state.detail;
  const isPeak = firing !== null && detail.peak !== null && firing === detail.peak.firing;
  byId("moment-title").textContent = isPeak ? "What makes the peak" : "At this moment";
  if (firing === null) {
    byId("moment-text").textContent = "Nothing fires.";
    byId("moment").replaceChildren();
    return;
  }
  const time = Math.floor(firing / detail.unit);
  const held = isPeak
    ? detail.peak.held.map(([number, size]) => ({ tenant: detail.tenants[number], size }))
    : heldAt(detail, time);
  const used = isPeak ? detail.peak.bytes : held.reduce((sum, { size }) => sum + size, 0);
  const stage = detail.stages[isPeak ? detail.peak.stage : detail.at[time]];
  const size = arenaBytes(detail);
  byId("moment-text").textContent =
    `Firing ${count(firing)} of ${count(detail.firings)}, while ` +
    `${nameOf(tensorName(detail, stageTensor(stage)))} is computed: ${bytes(used)} in use` +
    (isPeak
      ? `, more than at any other moment. No placement could do with less; the arena has ${bytes(size)}.`
      : `, of an arena of ${bytes(size)}.`);
  const most = held.length ? held[0].size : 1;
  const rows = held.map(({ tenant, size: part }) => {
    const name = tensorName(detail, tenant.tensor);
    const fill = make("div", { class: "fill" });
    fill.style.width = `${(100 * part) / most}%`;
    fill.style.background = hue(tenant.tensor);
    fill.style.opacity = SHADES[tenant.kind];
    const words = tenant.kind < 2 ? rowWords(detail, tenant, firing) : KIND_WORDS[tenant.kind];
    return { cells: [count(part), fill, KINDS[tenant.kind], nameElement(name), tenant.kind < 2 ? words || "" : ""] };
  });
  byId("moment").replaceChildren(makeTable([">bytes", "", "kind", "of", "rows live"], rows));
}
