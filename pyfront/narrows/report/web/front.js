/* SPDX-License-Identifier: Apache-2.0 */
/* The front of plans: RAM against what they compute. A click chooses a plan. */
"use strict";

const front = { chart: null, measure: 0, shown: [] };
const MEASURES = [
  ["MACs", (plan) => plan.macs],
  ["instructions", (plan) => plan.instructions],
];
/* Pixels around a point that belong to it. */
const REACH = 40;

function drawFront() {
  const { plans, chosen, layers } = report.front;
  byId("front").hidden = layers === null;
  if (layers === null) return;
  front.shown = plans
    .map((plan, number) => ({ plan, number }))
    .filter(({ number }) => number !== layers)
    .sort((a, b) => a.plan.ram - b.plan.ram);
  const [what, value] = MEASURES[front.measure];
  const xs = front.shown.map(({ plan }) => plan.ram / 1024);
  const ys = front.shown.map(({ plan }) => value(plan));
  const [low, high] = [Math.min(...xs), Math.max(...xs)];
  const [least, most] = [Math.min(...ys), Math.max(...ys)];
  const room = most > least ? (most - least) * 0.12 : most * 0.05 || 1;
  const options = {
    scales: {
      x: { time: false, distr: high > 3 * low ? 3 : 1, log: 10, range: [low * 0.94, high * 1.06] },
      y: { range: [Math.max(0, least - room), most + room] },
    },
    axes: [
      axis("RAM [KiB]", each((v) => (v === null ? "" : `${+v.toPrecision(3)}`)), logTicks(low, high)),
      axis(what, briefTicks, { size: 64 }),
    ],
    series: [{}, { stroke: "transparent", points: { show: false } }],
    cursor: { points: { show: false }, x: false, y: false, drag: { x: false, y: false } },
    hooks: {
      draw: [drawPoints],
      setCursor: [pointAtPlan],
      ready: [(chart) => chart.over.addEventListener("click", () => clickPlan(chart))],
    },
  };
  front.chart = makeChart(byId("front-plot"), options, [xs, ys], () => (narrow() ? 240 : 280));
  choose(byId("front-measure"), MEASURES.map(([name]) => name), front.measure, (i) => {
    front.measure = i;
    drawFront();
  });
  const names = ["compile's", "layer by layer"];
  const numbers = [chosen, layers];
  choose(byId("front-plans"), names, numbers.indexOf(state.plan), (i) => selectPlan(numbers[i]));
  legend(byId("front-legend"), [
    [colour("once"), "nothing computed twice"],
    [colour("twice"), "some elements computed twice"],
    [".ring", "what compile takes"],
    [colour("peak"), "shown below"],
  ]);
  drawPlanTable();
}

/* Ticks of a logarithmic axis at some round numbers. */
function logTicks(low, high) {
  const splits = [];
  for (let e = -1; e < 7; e++) {
    for (const m of high > 12 * low ? [1, 2, 5] : [1, 1.5, 2, 3, 4, 5, 6, 8]) {
      splits.push(m * 10 ** e);
    }
  }
  const inside = splits.filter((v) => v >= low * 0.94 && v <= high * 1.06);
  return high > 3 * low ? { splits: () => inside, filter: (chart, ticks) => ticks } : {};
}

function drawPoints(chart) {
  const { ctx } = chart;
  const scale = devicePixelRatio;
  ctx.save();
  front.shown.forEach(({ plan, number }, i) => {
    const x = chart.valToPos(chart.data[0][i], "x", true);
    const y = chart.valToPos(chart.data[1][i], "y", true);
    const ring = (radius) => {
      ctx.beginPath();
      ctx.arc(x, y, radius * scale, 0, 2 * Math.PI);
    };
    ring(5);
    ctx.fillStyle = colour(plan.macs === plan.macs_once ? "once" : "twice");
    ctx.fill();
    ctx.lineWidth = 2 * scale;
    if (number === report.front.chosen) {
      ring(8.5);
      ctx.strokeStyle = colour("text");
      ctx.stroke();
    }
    if (number === state.plan) {
      ring(5);
      ctx.fillStyle = colour("peak");
      ctx.fill();
    }
  });
  ctx.restore();
}

/* The point near the cursor, or -1. */
function nearest(chart) {
  let best = -1;
  let least = REACH;
  front.shown.forEach((_, i) => {
    const x = chart.valToPos(chart.data[0][i], "x") - chart.cursor.left;
    const y = chart.valToPos(chart.data[1][i], "y") - chart.cursor.top;
    if (Math.hypot(x, y) < least) [best, least] = [i, Math.hypot(x, y)];
  });
  return best;
}

function pointAtPlan(chart) {
  const at = chart.cursor.left < 0 ? -1 : nearest(chart);
  byId("front-plot").classList.toggle("pointing", at >= 0);
  if (at < 0) tip.hide();
  else tip.show(...pointer(chart), ...planWords(front.shown[at].plan));
}

function planWords(plan) {
  return [
    strong(`${kibibytes(plan.ram)} of RAM`),
    make("div", {}, `arena ${bytes(plan.arena)}, in all ${bytes(plan.ram)}`),
    make("div", {}, `${brief(plan.macs)} MACs, ${factor(plan.macs / plan.macs_once || 1)}`),
    make("div", {}, `${brief(plan.instructions)} instructions, predicted`),
    small("click to show it below"),
  ];
}

function clickPlan(chart) {
  const at = nearest(chart);
  if (at >= 0) selectPlan(front.shown[at].number);
}

function drawPlanTable() {
  const { plans, layers } = report.front;
  const rows = [...front.shown].reverse().map(({ plan, number }) => {
    const button = make("button", { type: "button" }, number === state.plan ? "shown" : "show");
    button.addEventListener("click", () => selectPlan(number));
    return {
      marked: number === state.plan,
      cells: [
        button,
        count(plan.ram),
        count(plan.arena),
        factor(plan.macs / plan.macs_once || 1),
        brief(plan.instructions),
        factor(plan.instructions / (plans[layers].instructions || 1)),
      ],
    };
  });
  const headings = ["", ">RAM [B]", ">arena [B]", ">MACs", ">instructions", ">to layer by layer"];
  const place = byId("front-table");
  place.replaceChildren(place.firstElementChild, make("div", { class: "scroll" }, makeTable(headings, rows)));
}
