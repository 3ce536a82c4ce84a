// Controls: each writes one field of the state and applies it.
function byId(id) { return document.getElementById(id); }

function options(id, entries, value) {
  byId(id).replaceChildren(...entries.map(([key, text]) => el("option", { value: key }, text)));
  byId(id).value = value;
}

function fillControls() {
  options("system", meta.systems.map((name, index) => [String(index), name]), String(state.system));
  options("sort", Object.entries(SORTS).filter(([key]) => key !== "change" || meta.systems.length > 1).map(([key, [text]]) => [key, text]), state.sort);
  for (const field of ["corpus", "subset", "language", "granularity"]) {
    options(field, [["", "All"], ...distinct(field).map((value) => [value, value])], state[field]);
  }
  byId("granularity-field").hidden = distinct("granularity").length < 2;
  options("cohort", [["", "All"], ["wrong", "any error"], ["exact", "no error"], ["empty", "empty"], ["looping", "looping"],
    ["too_long", "too long"], ["too_short", "too short"], ["hallucination", "hallucination"], ["missing", "no prediction"]], state.cohort);
  options("change", Object.entries(CHANGES), state.change);
  options("metric", Object.entries(METRICS).map(([key, [text]]) => [key, text]), state.metric);
  byId("change-field").hidden = meta.systems.length < 2;
  byId("search").value = state.search;
  byId("least").value = state.least || "";
  byId("direction").textContent = state.descending ? "↓" : "↑";
}

function stat(value, name) { return el("div", { class: "stat" }, el("b", {}, value), el("span", { title: name }, name)); }

function drawSummary() {
  const of = rows.length + meta.leftOut;
  byId("summary").replaceChildren(
    stat(`${selection.length.toLocaleString("en")} / ${of.toLocaleString("en")}`, "rows selected"),
    ...meta.systems.map((name, index) => stat(percent(totals(index).cer), `CER ${name}`)),
    stat(percent(selection.length ? totals(state.system).exact / selection.length : null, 1), "exact rows"));
}

function drawPair() {
  const nodes = [];
  if (state.pair) {
    const [wanted, got] = state.pair;
    nodes.push(el("button", { class: "badge warn", title: "Remove this filter", onclick: () => { state.pair = null; apply(); } },
      `${glyph(wanted)} → ${glyph(got)}  ✕`));
  }
  byId("pair-filter").replaceChildren(...nodes);
}

function apply() {
  select();
  drawSummary();
  drawPair();
  refreshList();
  if (!byId("matrix").hidden) drawMatrix();
}

function showTab(name) {
  for (const tab of ["errors", "matrix"]) {
    byId(tab).hidden = tab !== name;
    byId(`tab-${tab}`).setAttribute("aria-selected", String(tab === name));
  }
  if (name === "matrix") drawMatrix();
  else drawList(true);
}

function csvCell(value) {
  const text = String(value ?? "");
  const safe = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text; // a spreadsheet must not run it
  return `"${safe.replaceAll('"', '""')}"`;
}

function exportCsv() {
  const head = ["id", "document", "corpus", "subset", "language", "granularity", "image", "reference"];
  for (const name of meta.systems) head.push(`${name}: read`, `${name}: text`, `${name}: wrong characters`, `${name}: cer`, `${name}: confidence`);
  const lines = selection.map((row) => [row.id, row.document, row.corpus, row.subset, row.language, row.granularity, row.image, row.text,
    ...row.readings.flatMap((r) => [r.missing ? "no" : "yes", r.text, r.loss, r.cer, r.confidence])].map(csvCell).join(","));
  const blob = new Blob(["\ufeff", [head.map(csvCell).join(","), ...lines].join("\r\n")], { type: "text/csv" });
  const link = el("a", { href: URL.createObjectURL(blob), download: "errors.csv" });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function setTheme(theme) { document.documentElement.dataset.theme = theme; }

function listen() {
  const write = (id, event, field, read) => byId(id).addEventListener(event, () => { state[field] = read(byId(id).value); apply(); });
  for (const field of ["corpus", "subset", "language", "granularity", "cohort", "change", "metric", "sort"]) write(field, "change", field, String);
  write("system", "change", "system", Number);
  write("least", "input", "least", (value) => Number(value) || 0);
  let waiting = 0;
  byId("search").addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => { state.search = byId("search").value; apply(); }, 120);
  });
  byId("direction").addEventListener("click", () => { state.descending = !state.descending; fillControls(); apply(); });
  byId("reset").addEventListener("click", () => { state = initial(); fillControls(); apply(); });
  byId("export").addEventListener("click", exportCsv);
  byId("tab-errors").addEventListener("click", () => showTab("errors"));
  byId("tab-matrix").addEventListener("click", () => showTab("matrix"));
  byId("theme").addEventListener("click", toggleTheme);
  document.addEventListener("keydown", onKey);
}

function toggleTheme() { setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"); }

function onKey(event) {
  if (["INPUT", "SELECT", "TEXTAREA"].includes(event.target.tagName)) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  const moves = { j: 1, ArrowDown: 1, k: -1, ArrowUp: -1, PageDown: 8, PageUp: -8 };
  if (event.key in moves) choose(current + moves[event.key], true);
  else if (event.key === "/") byId("search").focus();
  else if (event.key === "t") toggleTheme();
  else return;
  event.preventDefault();
}

setTheme(matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
fillControls();
listen();
apply();
