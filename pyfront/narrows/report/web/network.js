/* SPDX-License-Identifier: Apache-2.0 */
/* The network as the plan runs it: a stage a line, in order, and lines from producers to readers. */
"use strict";

const ROW = 48;
const LANE = 11;
const MOST_LANES = 6;

function drawNetwork() {
  const detail = state.detail;
  const fused = detail.stages.filter((stage) => stage.parts.length > 1).length;
  byId("network-text").textContent =
    `${count(detail.stages.length)} stages` +
    (fused ? `, ${count(fused)} of them several operators fused into one (filled points)` : "") +
    ". At the right is what the plan keeps of each output. A click marks a tensor in the arena.";
  const edges = edgesOf(detail.stages);
  const lanes = laneOf(edges);
  const used = Math.min(MOST_LANES, Math.max(0, ...lanes));
  const width = 26 + used * LANE;
  const rows = detail.stages.map((stage, i) => stageRow(detail, stage, i, width));
  byId("stages").replaceChildren(drawing(detail.stages, edges, lanes, width), ...rows);
}

/* [producer, reader] of all tensors. */
function edgesOf(stages) {
  const producer = new Map(stages.map((stage, i) => [stage.output, i]));
  return stages.flatMap((stage, reader) =>
    [...new Set(stage.inputs)]
      .filter((tensor) => producer.has(tensor))
      .map((tensor) => [producer.get(tensor), reader]),
  );
}

/* The lane of each edge, 0 for those between neighbours: no two in a lane overlap. */
function laneOf(edges) {
  const ends = [];
  const order = edges.map((_, i) => i).sort((a, b) => edges[a][0] - edges[b][0]);
  const lanes = new Array(edges.length).fill(0);
  for (const i of order) {
    const [from, to] = edges[i];
    if (to - from <= 1) continue;
    let lane = ends.findIndex((end) => end <= from);
    if (lane < 0) lane = ends.length;
    ends[lane] = to;
    lanes[i] = lane + 1;
  }
  return lanes;
}

function drawing(stages, edges, lanes, width) {
  const x = width - 12;
  const middle = (stage) => stage * ROW + ROW / 2;
  const paths = edges.map(([from, to], i) => {
    if (lanes[i] === 0) return makeSvg("path", { d: `M${x} ${middle(from)}V${middle(to)}` });
    const side = x - (((lanes[i] - 1) % MOST_LANES) + 1) * LANE;
    const r = Math.min(ROW / 2, x - side);
    const d =
      `M${x} ${middle(from)}Q${side} ${middle(from)} ${side} ${middle(from) + r}` +
      `V${middle(to) - r}Q${side} ${middle(to)} ${x} ${middle(to)}`;
    return makeSvg("path", { d, class: "skip" });
  });
  const points = stages.map((stage, i) =>
    makeSvg("circle", { cx: x, cy: middle(i), r: 4.5, class: stage.parts.length > 1 ? "fused" : "" }),
  );
  return makeSvg("svg", { width, height: stages.length * ROW, "aria-hidden": "true" }, ...paths, ...points);
}

function stageRow(detail, stage, number, width) {
  const tensor = stageTensor(stage);
  const [name, height, across, channels, capacity] = detail.tensors[tensor];
  const swatch = make("span", { class: "swatch" });
  swatch.style.background = hue(tensor);
  const chips = stage.parts.flatMap((part, i) => [i ? " → " : "", make("span", { class: "chip" }, part)]);
  const how = [stage.form, `${count(height)}×${count(across)}×${count(channels)}`].filter(Boolean);
  const row = make(
    "div",
    { class: `stage${tensor === state.tensor ? " selected" : ""}`, "data-stage": number },
    make(
      "div",
      { class: "what" },
      make("div", {}, swatch, make("span", { class: "number" }, String(number)), nameElement(name)),
      make("div", { class: "parts" }, ...chips, ` ${how.join(" · ")}`),
    ),
    make("div", { class: "held" }, ...heldWords(stage, height, across, channels, capacity)),
  );
  row.style.paddingLeft = `${width + 4}px`;
  row.addEventListener("click", () => selectTensor(tensor === state.tensor ? null : tensor));
  row.addEventListener("mousemove", (event) => tip.show(event.clientX, event.clientY, ...stageWords(detail, stage)));
  row.addEventListener("mouseleave", () => tip.hide());
  return row;
}

/* What the arena keeps of a stage's output. */
function heldWords(stage, height, width, channels, capacity) {
  if (stage.output < 0) return [make("b", {}, "handed out"), make("br"), "row by row"];
  const whole = capacity >= height * width;
  const rows = Math.floor(capacity / width);
  const words =
    whole ? "whole" : capacity % width === 0 ? `${count(rows)} of ${count(height)} rows` : `${count(capacity)} pixel${capacity === 1 ? "" : "s"}`;
  return [make("b", {}, bytes(capacity * channels)), make("br"), words];
}

function stageWords(detail, stage) {
  const tensor = stageTensor(stage);
  const [name, height, across, channels, capacity] = detail.tensors[tensor];
  const inner = stage.names.slice(0, -1).map(nameOf).join(", ");
  const repeated = stage.macs > stage.macs_once ? `, ${factor(stage.macs / stage.macs_once)}` : "";
  return [
    strong(nameOf(name)),
    make("div", {}, `${stage.parts.join(" → ")}${stage.form ? `, ${stage.form}` : ""}`),
    inner ? small(`fused: ${inner} never stand in the arena`) : null,
    make("div", {}, `${count(height)}×${count(across)}×${count(channels)}, ring of ${count(capacity)} pixels`),
    stage.macs ? make("div", {}, `${brief(stage.macs)} MACs${repeated}; ${count(stage.strip)} columns a firing`) : null,
    fullLine(name),
  ];
}

function markStages() {
  for (const row of byId("stages").querySelectorAll(".stage")) {
    const stage = state.detail.stages[Number(row.dataset.stage)];
    row.classList.toggle("selected", stageTensor(stage) === state.tensor);
  }
}
