// Rows, their metrics, and the selection: no document access beyond reading the data elements.
const EMPTY = "";
const meta = JSON.parse(document.getElementById("meta").textContent);
const rows = [];
for (const block of document.querySelectorAll("script.rows")) {
  for (const raw of JSON.parse(block.textContent)) rows.push(prepare(raw));
  block.remove();
}

function codePoints(text) { return Array.from(text); }

function prepare(raw) {
  const length = codePoints(raw.t).length;
  const readings = raw.p.map((reading) => {
    const counts = { sub: 0, del: 0, ins: 0 };
    for (let i = 0; i < reading.o.length; i += 4) {
      const wanted = reading.o[i + 1] - reading.o[i], got = reading.o[i + 3] - reading.o[i + 2];
      counts.sub += Math.min(wanted, got);
      counts.del += Math.max(0, wanted - got);
      counts.ins += Math.max(0, got - wanted);
    }
    const loss = counts.sub + counts.del + counts.ins;
    const read = codePoints(reading.t).length;
    return {
      text: reading.t, raw: reading.r, ops: reading.o, missing: Boolean(reading.m),
      confidence: reading.c ?? null, cohorts: reading.k ?? [], ...counts, loss, length: read,
      cer: length ? loss / length : (loss ? Infinity : 0),
      ned: Math.max(length, read) ? loss / Math.max(length, read) : 0,
    };
  });
  return {
    id: raw.id, document: raw.d, corpus: raw.c, subset: raw.s, language: raw.l,
    granularity: raw.g, image: raw.i, text: raw.t, raw: raw.r, thumb: raw.b, why: raw.w,
    length, readings, key: null,
  };
}

const METRICS = {
  loss: ["Wrong characters", (row, s) => row.readings[s].loss],
  cer: ["CER %", (row, s) => 100 * row.readings[s].cer],
  ned: ["NED %", (row, s) => 100 * row.readings[s].ned],
  ins: ["Inserted characters", (row, s) => row.readings[s].ins],
  del: ["Deleted characters", (row, s) => row.readings[s].del],
  sub: ["Substituted characters", (row, s) => row.readings[s].sub],
  length: ["Reference length", (row) => row.length],
};
const SORTS = {
  ...METRICS,
  confidence: ["Confidence", (row, s) => row.readings[s].confidence ?? -1],
  surprise: ["Confident and wrong", (row, s) => (row.readings[s].confidence ?? 0) * Math.min(1, row.readings[s].cer)],
  change: ["Change against the first system", (row, s) => row.readings[s].loss - row.readings[0].loss],
  id: ["Row id", (row) => row.id],
};
const CHANGES = { all: "All rows", worse: "Worse than the first", better: "Better than the first", same: "Same loss", differs: "Texts differ" };

const initial = () => ({
  search: "", system: meta.systems.length - 1, sort: "loss", descending: true, corpus: "", subset: "",
  language: "", granularity: "", cohort: "", change: "all", metric: "loss", least: 0, pair: null,
});
let state = initial();
let selection = [];

function distinct(field) { return [...new Set(rows.map((row) => row[field]))].sort(); }

function haystack(row) {
  row.key ??= [row.id, row.document, row.text, ...row.readings.map((r) => r.text)].join("\n").toLowerCase();
  return row.key;
}

function changed(row) {
  const first = row.readings[0], own = row.readings[state.system];
  switch (state.change) {
    case "worse": return own.loss > first.loss;
    case "better": return own.loss < first.loss;
    case "same": return own.loss === first.loss;
    case "differs": return own.text !== first.text;
    default: return true;
  }
}

function matches(row) {
  const own = row.readings[state.system];
  return (!state.corpus || row.corpus === state.corpus)
    && (!state.subset || row.subset === state.subset)
    && (!state.language || row.language === state.language)
    && (!state.granularity || row.granularity === state.granularity)
    && (!state.cohort || (state.cohort === "missing" ? own.missing : state.cohort === "wrong" ? own.loss > 0
      : state.cohort === "exact" ? own.loss === 0 : own.cohorts.includes(state.cohort)))
    && changed(row)
    && (!(state.least > 0) || METRICS[state.metric][1](row, state.system) >= state.least)
    && (!state.search || haystack(row).includes(state.search.toLowerCase()))
    && (!state.pair || hasPair(row, own, state.pair));
}

function select() {
  const value = SORTS[state.sort][1], system = state.system, sign = state.descending ? -1 : 1;
  selection = rows.filter(matches).map((row) => [value(row, system), row]);
  selection.sort(([a, x], [b, y]) => (a < b ? -sign : a > b ? sign : x.id < y.id ? -1 : 1));
  selection = selection.map(([, row]) => row);
}

// Each wrong character of a reading: visit(reference character or "", read character or "").
function visitErrors(row, reading, visit) {
  if (!reading.ops.length || reading.missing) return; // nothing was read, so nothing was taken for another
  const wanted = codePoints(row.text), got = codePoints(reading.text);
  for (let i = 0; i < reading.ops.length; i += 4) {
    const [r0, r1, p0, p1] = reading.ops.slice(i, i + 4);
    const common = Math.min(r1 - r0, p1 - p0);
    for (let k = 0; k < common; k++) visit(wanted[r0 + k], got[p0 + k]);
    for (let k = r0 + common; k < r1; k++) visit(wanted[k], EMPTY);
    for (let k = p0 + common; k < p1; k++) visit(EMPTY, got[k]);
  }
}

function hasPair(row, reading, [wanted, got]) {
  let found = false;
  visitErrors(row, reading, (a, b) => { found ||= a === wanted && b === got; });
  return found;
}

function totals(system) {
  let loss = 0, length = 0, ins = 0, exact = 0;
  for (const row of selection) {
    const reading = row.readings[system];
    loss += reading.loss; length += row.length; ins += reading.ins; exact += reading.loss === 0;
  }
  return { loss, length, ins, exact, cer: length ? loss / length : null };
}
