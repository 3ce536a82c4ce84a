// A virtualised list: only the rows in view exist as elements, so their number does not matter.
const ROW_HEIGHT = 84;
const SPARE = 6;
const list = document.getElementById("list");
const spacer = document.getElementById("spacer");
const pane = document.getElementById("window");
let current = 0;
let drawn = [-1, -1];

// Text goes in as text nodes only: nothing that a model wrote can become markup.
function el(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "class") node.className = value;
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name.startsWith("aria-") || name === "role") node.setAttribute(name, value);
    else node[name] = value;
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

function percent(value, digits = 2) {
  if (value === null) return "–";
  return value === Infinity ? "∞" : `${(100 * value).toFixed(digits)} %`;
}

function badge(text, kind = "") { return el("span", { class: `badge ${kind}` }, text); }

function label(name) { return name.replaceAll("_", " "); }

function picture(row, className = "") {
  if (!row.thumb) return el("span", { class: "none" }, row.why ?? "no image");
  return el("img", { src: row.thumb, alt: "", loading: "lazy", decoding: "async", className });
}

function lossBadge(reading) {
  return badge(`${reading.loss} · ${percent(reading.cer, 1)}`, reading.loss ? "bad" : "good");
}

function rowNode(row, index) {
  const reading = row.readings[state.system];
  const badges = el("span", { class: "badges" });
  if (state.system > 0) {
    const change = reading.loss - row.readings[0].loss;
    if (change) badges.append(badge(`${change > 0 ? "+" : "−"}${Math.abs(change)}`, change > 0 ? "bad" : "good"));
  }
  if (reading.missing) badges.append(badge("no prediction", "warn"));
  if (reading.cohorts.length) badges.append(badge(label(reading.cohorts[0]), "warn"));
  badges.append(lossBadge(reading));
  return el("div", {
    class: "row", role: "option", "aria-selected": String(index === current), onclick: () => choose(index),
  },
  el("div", { class: "row-top" }, el("span", { class: "thumb" }, picture(row)), badges),
  el("div", { class: "row-text" }, ...(reading.missing ? [row.text] : diff(row, reading, 160))));
}

function drawList(force = false) {
  const first = Math.max(0, Math.floor(list.scrollTop / ROW_HEIGHT) - SPARE);
  const last = Math.min(selection.length, Math.ceil((list.scrollTop + list.clientHeight) / ROW_HEIGHT) + SPARE);
  if (!force && first === drawn[0] && last === drawn[1]) return;
  drawn = [first, last];
  pane.style.transform = `translateY(${first * ROW_HEIGHT}px)`;
  pane.replaceChildren(...selection.slice(first, last).map((row, k) => rowNode(row, first + k)));
  if (!selection.length) pane.append(el("div", { class: "blank" }, "No row fits these filters."));
}

function choose(index, scroll = false) {
  if (!selection.length) return;
  current = Math.min(Math.max(index, 0), selection.length - 1);
  if (scroll) {
    const top = current * ROW_HEIGHT, bottom = top + ROW_HEIGHT;
    if (top < list.scrollTop) list.scrollTop = top;
    else if (bottom > list.scrollTop + list.clientHeight) list.scrollTop = bottom - list.clientHeight;
  }
  drawList(true);
  drawDetail(selection[current]);
}

function refreshList() {
  spacer.style.height = `${selection.length * ROW_HEIGHT}px`;
  list.scrollTop = 0;
  current = 0;
  drawList(true);
  if (selection.length) drawDetail(selection[0]);
  else document.getElementById("detail").replaceChildren();
}

let frame = 0;
list.addEventListener("scroll", () => {
  if (!frame) frame = requestAnimationFrame(() => { frame = 0; drawList(); });
}, { passive: true });
window.addEventListener("resize", () => drawList(true));
