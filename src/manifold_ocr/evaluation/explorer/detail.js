// One row in full: the image, the reference, and each system's reading as a character diff.
function marked(tag, characters) {
  const text = characters.join("");
  const node = el(tag, {}, text);
  if (!text.trim()) node.classList.add("space");
  return node;
}

// The reading of a row as nodes: plain where equal, <del> what was missed, <ins> what was read.
// `limit` > 0 cuts after so many characters (lists); the cut is shown by an ellipsis.
function diff(row, reading, limit = 0) {
  const wanted = codePoints(row.text), got = codePoints(reading.text), nodes = [];
  let at = 0;
  const room = () => !limit || at < limit;
  for (let i = 0; i < reading.ops.length && room(); i += 4) {
    const [r0, r1, p0, p1] = reading.ops.slice(i, i + 4);
    if (r0 > at) nodes.push(wanted.slice(at, limit ? Math.min(r0, limit) : r0).join(""));
    at = r0;
    if (!room()) break;
    if (r1 > r0) nodes.push(marked("del", wanted.slice(r0, limit ? Math.min(r1, limit) : r1)));
    if (p1 > p0) nodes.push(marked("ins", got.slice(p0, limit ? Math.min(p1, p0 + limit) : p1)));
    at = r1;
  }
  if (room()) nodes.push(wanted.slice(at, limit || undefined).join(""));
  if (limit && wanted.length > limit) nodes.push("…");
  if (!nodes.length || (nodes.length === 1 && nodes[0] === "")) return [el("span", { class: "none" }, "no text")];
  return nodes;
}

function number(name, value) { return el("span", {}, `${name} `, el("b", {}, String(value))); }

function unread() {
  return el("span", { class: "none" }, "This system has no prediction for the row; it counts as an empty text.");
}

function systemCard(row, index) {
  const reading = row.readings[index];
  const badges = el("span", { class: "badges" }, lossBadge(reading));
  if (reading.missing) badges.prepend(badge("no prediction", "warn"));
  for (const cohort of reading.cohorts) badges.prepend(badge(label(cohort), "warn"));
  const card = el("article", { class: "card", "aria-label": meta.systems[index] },
    el("h3", {}, el("span", { class: "name", title: meta.systems[index] }, meta.systems[index]), badges),
    el("p", { class: "text" }, ...(reading.missing ? [unread()] : diff(row, reading))),
    el("div", { class: "numbers" },
      number("confidence", reading.confidence === null ? "–" : reading.confidence.toFixed(3)),
      number("NED", percent(reading.ned, 1)),
      number("substituted", reading.sub), number("deleted", reading.del), number("inserted", reading.ins)));
  if (reading.raw !== undefined) card.append(rawText(reading.raw));
  return card;
}

function rawText(text) {
  return el("details", {}, el("summary", {}, "text before normalization"), el("pre", {}, text));
}

function drawDetail(row) {
  const reference = el("article", { class: "card full" },
    el("h3", {}, el("span", { class: "name" }, "Reference"), el("span", {}, `${row.length} characters, ${meta.profile}`)),
    el("p", { class: "text" }, row.text || el("span", { class: "none" }, "no text (a blank image)")));
  if (row.raw !== undefined) reference.append(rawText(row.raw));
  const detail = document.getElementById("detail");
  detail.replaceChildren(
    el("h2", {}, row.id),
    el("div", { class: "meta" }, badge(row.corpus), badge(row.subset), badge(row.language), badge(row.granularity), badge(row.document), badge(row.image)),
    el("div", { class: "crop" }, picture(row, row.granularity)),
    reference,
    el("div", { class: "cards" }, ...row.readings.map((_, index) => systemCard(row, index))),
    el("p", { class: "legend" }, el("del", {}, "struck"), " stands in the reference and was not read, ", el("ins", {}, "green"), " was read and does not stand there."));
  detail.scrollTop = 0;
}
