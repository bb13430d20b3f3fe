/* SPDX-License-Identifier: Apache-2.0 */
/* What each stage takes, beside its operators executed layer by layer. */
"use strict";

function drawCosts() {
  const { stages } = state.detail;
  const predicted = stages.some((stage) => stage.instructions !== undefined);
  const what = predicted ? "instructions" : "MACs";
  const now = stages.map((stage) => (predicted ? stage.instructions : stage.macs) || 0);
  const then = stages.map((stage) => (predicted ? stage.alone : stage.macs_once));
  const sum = (values) => values.reduce((total, value) => total + (value || 0), 0);
  const [all, alone] = [sum(now), sum(then)];
  byId("costs").hidden = all === 0;
  if (all === 0) return;
  const words = predicted ? "the same operators layer by layer, every tensor whole" : "computing nothing twice";
  byId("costs-text").textContent =
    `${brief(all)} ${what}${predicted ? ", predicted," : ""} against ${brief(alone)} for ${words}: ` +
    `${factor(all / (alone || 1))}.`;
  const bar = (align, name) => ({
    fill: () => colour(name),
    stroke: () => colour(name),
    width: 0,
    points: { show: false },
    paths: uPlot.paths.bars({ size: [0.38, 16], align }),
  });
  makeChart(
    byId("costs-plot"),
    {
      scales: {
        x: { time: false, range: [-0.7, Math.max(0.7, stages.length - 0.3)] },
        y: { range: [0, Math.max(1, ...now, ...then.map((v) => v || 0)) * 1.06] },
      },
      axes: [
        axis("stage", each(count), { incrs: WHOLE }),
        axis(what, briefTicks, { size: 64 }),
      ],
      series: [{}, bar(-1, "layers"), bar(1, "accent")],
      cursor: barCursor(),
      hooks: {
        setCursor: [tipHook(tip, (at) => costWords(stages[at], now[at], then[at], all, predicted))],
        ready: [
          (chart) =>
            chart.over.addEventListener("click", () => {
              if (chart.cursor.idx !== null) selectTensor(stageTensor(stages[chart.cursor.idx]));
            }),
        ],
      },
    },
    [stages.map((_, i) => i), then, now],
    () => (narrow() ? 220 : 260),
  );
  legend(byId("costs-legend"), [
    [colour("accent"), "this plan"],
    [colour("layers"), predicted ? "layer by layer" : "computed once"],
  ]);
}

function costWords(stage, now, then, all, predicted) {
  const name = tensorName(state.detail, stageTensor(stage));
  const other = predicted ? "layer by layer" : "computed once";
  return [
    strong(nameOf(name)),
    make("div", {}, `${stage.parts.join(" → ")}${stage.form ? `, ${stage.form}` : ""}`),
    make("div", {}, `${brief(now)}, ${((100 * now) / all).toFixed(1)}% of the network`),
    then ? make("div", {}, `${brief(then)} ${other}: ${factor(now / then)}`) : null,
    predicted && stage.macs ? small(`${brief(stage.macs)} MACs`) : null,
    fullLine(name),
  ];
}
