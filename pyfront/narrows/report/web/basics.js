/* SPDX-License-Identifier: Apache-2.0 */
/* What all parts of the page use: elements, numbers, colours, the tooltip, compressed data. */
"use strict";

const byId = (id) => document.getElementById(id);

/* An element; what is in it is text or elements, never HTML. */
function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (value !== undefined && value !== false) element.setAttribute(key, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

function makeSvg(tag, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(attributes || {})) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

const count = (value) => Math.round(value).toLocaleString("en-US");
const bytes = (value) => `${count(value)} B`;

/* A number with three digits and a unit, such as 1.19 G. */
function brief(value) {
  const units = ["", " k", " M", " G", " T"];
  let unit = 0;
  while (Math.abs(value) >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  const digits = unit === 0 ? 0 : Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2;
  return value.toFixed(digits) + units[unit];
}

/* Ticks of an axis as brief numbers, with as many digits as tell them apart. */
function briefTicks(ticks) {
  const most = Math.max(...ticks.map(Math.abs), 1);
  const power = Math.min(4, Math.floor(Math.log10(most) / 3));
  const step = ticks.length > 1 ? (ticks[1] - ticks[0]) / 1000 ** power : 1;
  const digits = Math.max(0, Math.min(6, -Math.floor(Math.log10(step) + 1e-9)));
  const unit = ["", " k", " M", " G", " T"][power];
  return ticks.map((tick) => (tick === 0 ? "0" : (tick / 1000 ** power).toFixed(digits) + unit));
}

function kibibytes(value) {
  const kib = value / 1024;
  return `${kib >= 100 || Number.isInteger(kib) ? kib.toFixed(0) : kib.toFixed(1)} KiB`;
}

const factor = (value) => `×${value.toFixed(value < 10 ? 3 : 1)}`;

/* A real number in four digits. */
const real = (value) => Number(value.toPrecision(4)).toString();

const range = (first, last) => (first === last ? count(first) : `${count(first)}–${count(last)}`);

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

/* The colour of a tensor: neighbours differ much, by the golden ratio; all are as light. */
function hue(number) {
  const turn = Math.round((number * 0.618034 * 360 + 255) % 360);
  return `oklch(${colour("hue-light")} 0.13 ${turn})`;
}

/* JSON that was compressed by pack_text. */
async function unpack(text) {
  const packed = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).json();
}

/* The first index of ascending values that is above a value. */
function above(values, value) {
  let low = 0;
  let high = values.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (values[middle] <= value) low = middle + 1;
    else high = middle;
  }
  return low;
}

const tip = {
  show(x, y, ...children) {
    const box = byId("tip");
    box.replaceChildren(...children.filter((child) => child !== null));
    box.hidden = false;
    const room = 14;
    const left = x + room + box.offsetWidth > innerWidth ? x - room - box.offsetWidth : x + room;
    const top = y + room + box.offsetHeight > innerHeight ? y - room - box.offsetHeight : y + room;
    box.style.left = `${Math.max(4, Math.min(left, innerWidth - box.offsetWidth - 4))}px`;
    box.style.top = `${Math.max(4, top)}px`;
  },
  hide() {
    byId("tip").hidden = true;
  },
};

const strong = (text) => make("b", {}, text);
const small = (text) => make("small", {}, text);

/* A short name, whose full one shows when it is pointed at. */
const nameOf = (number) => report.names[number][0];
const fullName = (number) => report.names[number][1];

function nameElement(number) {
  return make("span", { class: "name", title: fullName(number) }, nameOf(number));
}

/* The full name for a tooltip, cut if it is very long; nothing if it is the short one. */
function fullLine(number) {
  const full = fullName(number);
  if (full === nameOf(number)) return null;
  return small(full.length > 160 ? `${full.slice(0, 160)}…` : full);
}

/* A legend: [colour or class, text] each. */
function legend(place, entries) {
  place.replaceChildren(
    ...entries.map(([mark, text]) => {
      const sign = make("i", mark.startsWith(".") ? { class: mark.slice(1) } : {});
      if (!mark.startsWith(".")) sign.style.background = mark;
      return make("span", {}, sign, text);
    }),
  );
}

/* Buttons of which one is pressed. */
function choose(place, texts, pressed, act) {
  place.replaceChildren(
    ...texts.map((text, i) => {
      const button = make("button", { type: "button", "aria-pressed": i === pressed }, text);
      button.addEventListener("click", () => act(i));
      if (i !== pressed) button.setAttribute("aria-pressed", "false");
      return button;
    }),
  );
}

/* A table: headings that begin with > stand at the right, as do their columns. */
function makeTable(headings, rows) {
  const right = headings.map((heading) => heading.startsWith(">"));
  const cell = (tag, content, i) => make(tag, right[i] ? { class: "n" } : {}, content);
  return make(
    "table",
    {},
    make("thead", {}, make("tr", {}, headings.map((h, i) => cell("th", h.replace(">", ""), i)))),
    make(
      "tbody",
      {},
      rows.map((row) =>
        make("tr", { class: row.marked ? "marked" : undefined }, row.cells.map((c, i) => cell("td", c, i))),
      ),
    ),
  );
}
