/* SPDX-License-Identifier: Apache-2.0 */
/* What all plots have in common: sizes that follow the page, colours that follow its scheme. */
"use strict";

const charts = [];

/* A plot in a place. options: of uPlot, without sizes; height: in pixels. */
function makeChart(place, options, data, height) {
  place.replaceChildren();
  const width = () => Math.max(160, place.clientWidth);
  const chart = new uPlot(
    { legend: { show: false }, ...options, width: width(), height: height() },
    data,
    place,
  );
  const isGone = (other) => other.place === place || !other.place.isConnected;
  for (const old of charts.filter(isGone)) {
    old.chart.destroy();
    charts.splice(charts.indexOf(old), 1);
  }
  charts.push({ place, chart, width, height });
  return chart;
}

const each = (word) => (ticks) => ticks.map(word);

/* Steps of an axis that counts things. */
const WHOLE = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000];

/* Steps of an axis in bytes. */
const BINARY = Array.from({ length: 26 }, (_, i) => 2 ** (i + 4));

const narrow = () => innerWidth < 600;

/* An axis in the page's colours. words: of its ticks, all at a time. */
function axis(label, words, more) {
  return {
    stroke: () => colour("soft"),
    grid: { stroke: () => colour("line"), width: 1 },
    ticks: { stroke: () => colour("line"), width: 1, size: 4 },
    font: "12px system-ui, sans-serif",
    labelFont: "12px system-ui, sans-serif",
    labelSize: 18,
    size: 34,
    label,
    values: (chart, ticks) => words(ticks),
    ...more,
  };
}

/* Where the pointer is on the screen, of a plot's cursor. */
function pointer(chart) {
  const box = chart.over.getBoundingClientRect();
  return [box.left + chart.cursor.left, box.top + chart.cursor.top];
}

/* The cursor of a plot of bars: nothing is drawn, and dragging does not zoom. */
const barCursor = () => ({ points: { show: false }, y: false, drag: { x: false, y: false } });

/* Shows a tooltip for the bar under the cursor. tipOf: its content. */
function tipHook(tip, tipOf) {
  return (chart) => {
    const at = chart.cursor.idx;
    if (chart.cursor.left < 0 || at === null || at === undefined) tip.hide();
    else tip.show(...pointer(chart), ...tipOf(at));
  };
}

function redrawAll() {
  for (const { chart } of charts) chart.redraw(false, true);
}

function resizeAll() {
  for (const { chart, width, height } of charts) {
    if (chart.width !== width()) chart.setSize({ width: width(), height: height() });
  }
}

/* Bars of one colour for each class of values, [name of the colour, whether a value is in it]; what
 * several plots show. values: numbers; tipOf: the content of a bar's tooltip. */
function barChart(place, label, values, classes, words, tipOf, most) {
  const xs = values.map((_, i) => i);
  const series = classes.map(([name, isIn]) => ({
    data: values.map((value) => (value !== null && isIn(value) ? value : null)),
    fill: () => colour(name),
    stroke: () => colour(name),
    width: 0,
    points: { show: false },
    paths: uPlot.paths.bars({ size: [0.72, 28] }),
  }));
  const options = {
    scales: {
      x: { time: false, range: [-0.6, Math.max(0.6, values.length - 0.4)] },
      y: { range: [0, most] },
    },
    axes: [
      axis("layer", each(count), { incrs: WHOLE }),
      axis(label, each(words), { size: 56 }),
    ],
    series: [{}, ...series.map(({ data, ...rest }) => rest)],
    cursor: barCursor(),
    hooks: { setCursor: [tipHook(tip, tipOf)] },
  };
  return makeChart(place, options, [xs, ...series.map(({ data }) => data)], () => (narrow() ? 200 : 240));
}
