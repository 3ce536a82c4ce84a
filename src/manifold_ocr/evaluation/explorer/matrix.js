// Which characters are taken for which, over the current selection and system.
const MATRIX_SIZE = 22;
const TOP_PAIRS = 40;

function glyph(character) {
  if (character === EMPTY) return "∅";
  return character === " " ? "␣" : character;
}

function named(character, side) {
  if (character !== EMPTY) return glyph(character);
  return side === "wanted" ? "nothing (inserted)" : "nothing (deleted)";
}

function countPairs() {
  const pairs = new Map();
  for (const row of selection) {
    visitErrors(row, row.readings[state.system], (a, b) => {
      const key = `${a}\u0000${b}`;
      pairs.set(key, (pairs.get(key) ?? 0) + 1);
    });
  }
  return [...pairs].map(([key, count]) => [...key.split("\u0000"), count]).sort((x, y) => y[2] - x[2] || (x[0] + x[1] < y[0] + y[1] ? -1 : 1));
}

function axis(pairs, side) {
  const sums = new Map();
  for (const pair of pairs) sums.set(pair[side], (sums.get(pair[side]) ?? 0) + pair[2]);
  return [...sums].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1)).slice(0, MATRIX_SIZE).map(([character]) => character);
}

function choosePair(wanted, got) {
  state.pair = [wanted, got];
  showTab("errors");
  apply();
}

function cell(wanted, got, count, most) {
  const td = el("td");
  if (!count) return td;
  td.style.background = `rgba(var(--heat), ${(0.12 + 0.78 * Math.sqrt(count / most)).toFixed(3)})`;
  td.append(el("button", {
    title: `${named(wanted, "wanted")} read as ${named(got, "got")}: ${count}`, onclick: () => choosePair(wanted, got),
  }, String(count)));
  return td;
}

function gridNode(pairs) {
  const counts = new Map(pairs.map(([a, b, count]) => [`${a}\u0000${b}`, count]));
  const wanted = axis(pairs, 0), got = axis(pairs, 1), most = pairs[0][2];
  const head = el("tr", {}, el("th", { title: "reference ↓, read →" }, "↓→"), ...got.map((character) => el("th", { title: named(character, "got") }, glyph(character))));
  const body = wanted.map((a) => el("tr", {}, el("th", { title: named(a, "wanted") }, glyph(a)),
    ...got.map((b) => cell(a, b, counts.get(`${a}\u0000${b}`) ?? 0, most))));
  return el("table", { class: "grid" }, head, ...body);
}

function pairLine([wanted, got, count], most) {
  const fill = el("div", { class: "bar-fill" });
  fill.style.width = `${(100 * count / most).toFixed(1)}%`;
  return el("button", { class: "pair-line", title: "Show the rows", onclick: () => choosePair(wanted, got) },
    el("span", { class: "glyphs" }, `${glyph(wanted)} → ${glyph(got)}`),
    el("span", { class: "bar-track" }, fill), el("span", { class: "count" }, count.toLocaleString("en")));
}

function drawMatrix() {
  const pairs = countPairs(), panel = document.getElementById("matrix");
  const total = pairs.reduce((sum, pair) => sum + pair[2], 0);
  const head = [el("h2", {}, "Character confusions"),
    el("p", {}, `${total.toLocaleString("en")} wrong characters of ${meta.systems[state.system]} in ${selection.length.toLocaleString("en")} rows. Rows of the grid are reference characters, columns what was read, ∅ is nothing. Choose a cell or a pair to see its rows.`)];
  if (!pairs.length) { panel.replaceChildren(...head, el("div", { class: "blank" }, "No wrong character here.")); return; }
  panel.replaceChildren(...head, el("div", { class: "matrix-body" }, gridNode(pairs),
    el("div", { class: "top-pairs" }, ...pairs.slice(0, TOP_PAIRS).map((pair) => pairLine(pair, pairs[0][2])))));
}
