/* SPDX-License-Identifier: Apache-2.0 */
/* Layers against those of another network: of a quantization, or of any two sides. */
"use strict";

const MOST_DECIBELS = 60;
const GOOD = 30;
const POOR = 15;
const LEVELS = [
  ["good", (value) => value >= GOOD],
  ["fair", (value) => value < GOOD && value > POOR],
  ["poor", (value) => value <= POOR],
];

function drawLayers() {
  for (const part of ["quality", "comparison"]) {
    const data = report[part];
    byId(part).hidden = !data;
    if (data) drawPart(byId(part), data);
  }
}

function drawPart(place, data) {
  const lines = make(
    "p",
    { class: "lead" },
    data.lines.flatMap(([what, value, name], i) => [
      i ? make("br") : null,
      make("b", {}, `${what}: `),
      name === undefined ? null : nameElement(name),
      value,
    ]),
  );
  const plot = make("div", { class: "plot" });
  const notes = make("p", { class: "legend" });
  place.replaceChildren(place.firstElementChild, lines, plot, notes, layerTable(data));
  if (data.unit === "dB") drawDecibels(plot, notes, data);
  else drawDiffering(plot, notes, data);
}

/* What a layer is worth without what is only scale. */
const bestOf = (layer) => layer.rescaled ?? layer.decibels ?? null;

function drawDecibels(plot, notes, data) {
  const cut = (value) => (value === null ? null : Math.max(0.6, Math.min(MOST_DECIBELS, value)));
  const values = data.layers.map((layer) => cut(bestOf(layer)));
  const tips = (i) => layerWords(data.layers[i]);
  barChart(plot, "signal to noise [dB]", values, LEVELS, (v) => `${v}`, tips, MOST_DECIBELS);
  legend(notes, [
    [colour("good"), `${GOOD} dB and more`],
    [colour("fair"), "between"],
    [colour("poor"), `${POOR} dB and less`],
    ["transparent", "all noise of the layers before is in it"],
  ]);
}

function drawDiffering(plot, notes, data) {
  const share = (layer) => (layer.elements ? (100 * layer.differing) / layer.elements : 0);
  const values = data.layers.map(share);
  const classes = [["poor", (value) => value > 0], ["good", (value) => value === 0]];
  const most = Math.max(...values, 0) * 1.1 || 1;
  barChart(plot, "differing elements", values, classes, (v) => `${real(v)}%`, (i) => layerWords(data.layers[i]), most);
  const equal = values.every((value) => value === 0);
  legend(notes, [[colour(equal ? "good" : "poor"), equal ? "every byte is equal" : "layers that differ"]]);
}

function layerWords(layer) {
  const lines = [];
  if (layer.decibels !== undefined) lines.push(`${layer.decibels.toFixed(1)} dB`);
  if (layer.rescaled !== undefined) lines.push(`${layer.rescaled.toFixed(1)} dB if channels are rescaled`);
  if (layer.drop !== undefined) lines.push(`${layer.drop.toFixed(1)} dB less than the layer before`);
  if (layer.range) lines.push(`range ${layer.range.map(real).join(" to ")}`);
  if (layer.differing !== undefined && layer.decibels === undefined) {
    lines.push(`${count(layer.differing)} of ${count(layer.elements)} elements differ`);
    if (layer.most) lines.push(`by up to ${real(layer.most)}`);
  }
  return [
    strong(nameOf(layer.name)),
    small(layer.operator),
    ...lines.map((line) => make("div", {}, line)),
    fullLine(layer.name),
  ];
}

/* Columns of the table: [heading, content of a layer's cell]; those that are empty are left out. */
const COLUMNS = [
  ["layer", (layer) => [nameElement(layer.name), make("small", {}, layer.operator)]],
  [">dB", (layer) => (layer.rescaled === undefined ? decibelsElement(layer.decibels) : fixed(layer.decibels))],
  [">rescaled", (layer) => decibelsElement(layer.rescaled)],
  [">drop", (layer) => fixed(layer.drop)],
  [">differ", (layer) => (layer.decibels === undefined && layer.differing !== undefined ? count(layer.differing) : null)],
  [">of", (layer) => (layer.decibels === undefined && layer.elements !== undefined ? count(layer.elements) : null)],
  [">by up to", (layer) => (layer.decibels === undefined && layer.most !== undefined ? real(layer.most) : null)],
  ["range", (layer) => (layer.range ? [make("span", { class: "range" }, layer.range.map(real).join(" to ")), layer.by ? small(layer.by) : ""] : null)],
  ["activations", (layer) => histogram(layer.activations, layer.range)],
  ["weights", (layer) => histogram(layer.weights)],
  [">weights dB", (layer) => fixed(layer.weight_decibels)],
  [">with one scale", (layer) => fixed(layer.per_tensor_decibels)],
  ["worst channels", (layer) => worstWords(layer.worst)],
];

const fixed = (value) => (value === undefined || value === null ? null : value.toFixed(1));

function decibelsElement(value) {
  if (value === undefined) return null;
  const level = LEVELS.find(([, isIn]) => isIn(value)) || LEVELS[0];
  return make("span", { class: level[0] }, value.toFixed(1));
}

function worstWords(worst) {
  if (!worst || worst.length === 0) return null;
  return worst.map(([channel, value]) => `${channel}: ${value.toFixed(1)} dB`).join(", ");
}

function layerTable(data) {
  const table = data.layers.map((layer) => ({
    marked: layer.marked,
    cells: COLUMNS.map(([, content]) => content(layer)),
  }));
  const shown = COLUMNS.map((_, i) => table.some(({ cells }) => cells[i] !== null));
  const keep = (list) => list.filter((_, i) => shown[i]);
  const rows = table.map(({ marked, cells }) => ({ marked, cells: keep(cells).map((cell) => cell ?? "") }));
  return make("div", { class: "scroll" }, makeTable(keep(COLUMNS.map(([heading]) => heading)), rows));
}

/* Counts on a logarithmic scale, and dashed the range that int8 covers. */
function histogram(data, covered) {
  if (!data) return null;
  const [width, height] = [150, 34];
  const step = width / data.bars.length;
  const d = data.bars.map((bar, i) => (bar ? `M${(i * step).toFixed(1)} ${height}v${-(bar * height) / 100}h${step.toFixed(1)}V${height}z` : ""));
  const marks = (covered || [])
    .map((value) => ((value - data.low) / (data.high - data.low)) * width)
    .filter((x) => x >= 0 && x <= width)
    .map((x) => makeSvg("line", { x1: x, x2: x, y1: 0, y2: height }));
  const box = { class: "histogram", viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none" };
  return [makeSvg("svg", box, makeSvg("path", { d: d.join("") }), ...marks), small(`${real(data.low)} to ${real(data.high)}`)];
}
