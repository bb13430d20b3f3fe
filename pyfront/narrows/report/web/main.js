/* SPDX-License-Identifier: Apache-2.0 */
/* The page as a whole: what is shown, and what happens when it changes. */
"use strict";

const report = JSON.parse(byId("data").textContent);
/* plan: the number of the one that is shown; detail: what is unpacked of it; tensor: the one that is
 * marked, null for none. */
const state = { plan: -1, detail: null, tensor: null };

async function selectPlan(number) {
  const detail = readArena(await unpack(report.front.plans[number].detail));
  state.plan = number;
  state.detail = detail;
  state.tensor = null;
  document.body.dataset.plan = number;
  drawPlan();
}

function drawPlan() {
  drawFigures();
  drawFront();
  drawArena();
  drawNetwork();
  drawCosts();
}

function selectTensor(tensor) {
  state.tensor = tensor;
  markStages();
  if (arena.map) arena.map.redraw(false, true);
  const row = byId("stages").querySelector(".selected");
  const box = byId("stages");
  if (row) {
    const [top, bottom] = [row.offsetTop, row.offsetTop + row.offsetHeight];
    if (top < box.scrollTop || bottom > box.scrollTop + box.clientHeight) {
      box.scrollTop = top - box.clientHeight / 2;
    }
  }
}

function drawFigures() {
  const { plans, layers } = report.front;
  const plan = plans[state.plan];
  const against = layers === null ? null : plans[layers];
  const figures = [];
  if (plan.ram !== null) figures.push(["RAM in all", kibibytes(plan.ram), bytes(plan.ram)]);
  figures.push(["arena", kibibytes(plan.arena), bytes(plan.arena)]);
  if (against && state.plan !== layers) {
    figures.push(["layer by layer", kibibytes(against.ram), `${factor(against.ram / plan.ram)} as much RAM`]);
  }
  figures.push(["MACs", brief(plan.macs), repeats(plan)]);
  if (plan.instructions !== null) {
    const share = against && against.instructions ? plan.instructions / against.instructions : 1;
    figures.push(["instructions", brief(plan.instructions), `predicted; ${factor(share)} of layer by layer`]);
  }
  if (plan.seconds) {
    figures.push(["an inference", `${real(1000 * plan.seconds)} ms`, `about, ${report.clock}`]);
  }
  figures.push(["firings", count(state.detail.firings), `of ${count(state.detail.stages.length)} stages`]);
  byId("figures").replaceChildren(
    ...figures.map(([what, value, note]) =>
      make("div", {}, make("dt", {}, what), make("dd", {}, value, make("small", {}, note))),
    ),
  );
}

function repeats(plan) {
  if (plan.macs <= plan.macs_once) return "nothing computed twice";
  return `${factor(plan.macs / plan.macs_once)}: some computed twice`;
}

function drawHead() {
  byId("title").textContent = report.title;
  byId("subtitle").textContent = (report.lines || []).map(([what, value]) => `${what}: ${value}`).join(" · ");
  byId("footer").textContent = `Written by ${report.producer}. Plots: uPlot, MIT licence.`;
  const sections = [...document.querySelectorAll("main > section")].filter((section) => !section.hidden);
  byId("contents").replaceChildren(
    ...sections.map((section) => make("a", { href: `#${section.id}` }, section.querySelector("h2").textContent)),
  );
}

async function start() {
  if (report.front) {
    await selectPlan(report.front.chosen);
  } else {
    for (const part of ["arena", "network", "costs"]) byId(part).hidden = true;
  }
  drawLayers();
  drawHead();
  document.body.dataset.ready = Math.round(performance.now());
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  if (state.detail) drawPlan();
  drawLayers();
});
let resizing = 0;
addEventListener("resize", () => {
  cancelAnimationFrame(resizing);
  resizing = requestAnimationFrame(resizeAll);
});
addEventListener("scroll", () => tip.hide(), { passive: true });
start();
