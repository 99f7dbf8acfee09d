// The console: a list that is live, and one incident with everything that stands behind it.
// Everything that comes from outside is written with textContent.

const list = document.getElementById("incidents");
const detail = document.getElementById("detail");
const filter = document.getElementById("filter");
const more = document.getElementById("more");
const empty = document.getElementById("empty");
const link = document.getElementById("link");
const known = new Map();
let cursor = null;
let revision = 0;
let shown = null;

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.filter((c) => c !== null && c !== undefined));
  return node;
}

const two = (n) => String(n).padStart(2, "0");
function clock(text, millis = false) {
  const t = new Date(text);
  const time = `${two(t.getHours())}:${two(t.getMinutes())}:${two(t.getSeconds())}`;
  return millis ? `${time}.${String(t.getMilliseconds()).padStart(3, "0")}` : time;
}
function day(text) {
  const t = new Date(text);
  return `${t.getFullYear()}-${two(t.getMonth() + 1)}-${two(t.getDate())}`;
}
const count = (n, one) => `${n} ${one}${n === 1 ? "" : "s"}`;

function wanted(incident) {
  const form = new FormData(filter);
  const text = form.get("text").trim().toLowerCase();
  const words = [incident.title, incident.rule, incident.site, incident.area, incident.person, incident.id];
  return (!form.get("severity") || incident.severity === form.get("severity"))
    && (!form.get("state") || incident.state === form.get("state"))
    && (!text || words.some((w) => w && w.toLowerCase().includes(text)));
}

function row(incident, arrived) {
  const place = [incident.area, incident.person].filter(Boolean).join(" · ");
  const facts = [place || incident.site, count(incident.events, "event"), incident.feeds.join(", ")];
  if (incident.links.length) facts.push("linked");
  if (incident.late) facts.push(incident.late === "live" ? "late" : "late, recorded only");
  if (incident.suppressed) facts.push(`${incident.suppressed} held back`);
  if (incident.stale_at) facts.push("stale");
  const anchor = make("a", {
    href: `#/incidents/${incident.id}`, "data-id": incident.id, "data-severity": incident.severity,
    class: arrived ? "new" : null, "aria-current": shown === incident.id ? "true" : null,
  },
    make("span", { class: "bar" }), make("span", { class: "severity" }, incident.severity),
    make("span", { class: "title" }, incident.title),
    make("time", { datetime: incident.opened_at, title: day(incident.opened_at) }, clock(incident.opened_at)),
    make("span", { class: "state" }, incident.state), make("span", { class: "facts" }, facts.join(" · ")));
  return make("li", {}, anchor);
}

function place(incident, arrived) {
  const old = known.get(incident.id);
  known.set(incident.id, incident);
  revision = Math.max(revision, incident.revision);
  const before = list.querySelector(`[data-id="${incident.id}"]`)?.parentElement;
  if (!wanted(incident)) { before?.remove(); return sum(); }
  const item = row(incident, arrived && !old);
  if (before) before.replaceWith(item);
  else {
    // Ids begin with time: newest first is the order of the ids turned round.
    const later = [...list.children].find((li) => li.firstChild.dataset.id < incident.id);
    list.insertBefore(item, later ?? null);
  }
  sum();
}

function sum() {
  empty.hidden = list.children.length > 0;
}

async function get(path) {
  const response = await fetch(path);
  const body = await response.json();
  if (!response.ok) throw new Error(body.error ?? response.statusText);
  return body;
}

// There is no log-in yet: who acts is what they say, and stands in the timeline.
const dialog = document.getElementById("act");
function ask(id, act, title) {
  const form = dialog.querySelector("form");
  document.getElementById("act-title").textContent = title;
  document.getElementById("act-error").textContent = "";
  form.elements.by.value = sessionStorage.getItem("by") ?? "";
  form.elements.reason.value = "";
  form.elements.reason.required = act === "shelve";
  form.elements.to.required = act === "assign";
  for (const label of form.querySelectorAll("[data-of]")) label.hidden = label.dataset.of !== act;
  form.onsubmit = async (event) => {
    if (event.submitter?.value !== "do") return;
    event.preventDefault();
    const fields = new FormData(form);
    sessionStorage.setItem("by", fields.get("by"));
    const of = { assign: ["to"], close: ["disposition"], shelve: ["for"] }[act] ?? [];
    const query = new URLSearchParams({ by: fields.get("by"), reason: fields.get("reason") });
    const response = await fetch(`/api/v1/incidents/${id}/${act}?${query}`, {
      method: "POST", headers: { "content-type": "application/json" },
      body: JSON.stringify(Object.fromEntries(of.map((name) => [name, fields.get(name)]))),
    });
    if (response.ok) return dialog.close();
    const body = await response.json();
    document.getElementById("act-error").textContent = `${body.error}: ${body.help}`;
  };
  dialog.showModal();
}

function acts(i) {
  const all = [["acknowledge", "Acknowledge", i.state === "active"], ["assign", "Assign", i.state !== "closed"],
    ["shelve", "Shelve", !["shelved", "closed"].includes(i.state)], ["unshelve", "Unshelve", i.state === "shelved"],
    ["close", "Close", i.state !== "closed"]];
  return make("p", { class: "buttons" }, ...all.filter(([, , can]) => can).map(([act, title]) => {
    const button = make("button", { type: "button", "data-act": act }, title);
    button.addEventListener("click", () => ask(i.id, act, `${title}: ${i.title}`));
    return button;
  }));
}

const levels = ["no call", "little known", "a person is present", "a threat to property", "a threat to life"];

async function load(next) {
  const query = new URLSearchParams({ limit: "50" });
  for (const [name, value] of new FormData(filter)) if (value) query.set(name, value);
  if (next) query.set("cursor", next); else list.replaceChildren();
  const page = await get(`/api/v1/incidents?${query}`);
  page.items.forEach((incident) => place(incident, false));
  cursor = page.next;
  more.hidden = !cursor;
  sum();
}

function pretty(raw) {
  try { return JSON.stringify(JSON.parse(raw), null, 2); } catch { return raw || "(no longer in the log)"; }
}

function table(heads, rows) {
  return make("table", {}, make("thead", {}, make("tr", {}, ...heads.map((h) => make("th", {}, h)))),
    make("tbody", {}, ...rows));
}

function evidence(event) {
  const raw = make("details", {}, make("summary", {}, event.id), make("pre", {}, pretty(event.raw)));
  return make("tr", {}, make("td", { class: "time" }, clock(event.occurred, true)), make("td", {}, event.feed),
    make("td", {}, event.kind), make("td", {}, event.device), make("td", {}, raw));
}

function detection(found) {
  const why = found.why.flatMap(([label, value]) => [`${label} `, make("b", {}, value), "   "]);
  return make("tr", {}, make("td", { class: "time" }, clock(found.at, true)),
    make("td", {}, found.late ? `${found.title} (late)` : found.title, make("div", { class: "why" }, ...why)),
    make("td", {}, make("code", {}, found.rule)), make("td", {}, String(found.events.length + found.evidence_omitted)));
}

async function show(id) {
  shown = id;
  list.querySelectorAll("a").forEach((a) => a.dataset.id === id ? a.setAttribute("aria-current", "true") : a.removeAttribute("aria-current"));
  if (!id) return;
  const top = detail.dataset.id === id ? detail.scrollTop : 0;
  let i;
  try { i = await get(`/api/v1/incidents/${id}`); } catch (error) {
    detail.replaceChildren(make("p", { class: "hint" }, error.message));
    return;
  }
  if (shown !== id) return;
  const open = new Set([...detail.querySelectorAll("details[open] > summary")].map((s) => s.textContent));
  detail.dataset.id = id;
  detail.replaceChildren(
    make("h2", {}, i.title),
    make("div", { class: "badges", "data-severity": i.severity },
      make("span", { class: "badge" }, i.severity), make("span", {}, i.state),
      make("span", {}, `${i.site}${i.area ? ` · ${i.area}` : ""}${i.person ? ` · ${i.person}` : ""}`),
      make("span", {}, `${day(i.opened_at)} ${clock(i.opened_at)} – ${clock(i.updated_at)}`),
      make("span", {}, `${count(i.feeds.length, "independent feed")}: ${i.feeds.join(", ")}`),
      make("span", { title: "verification level, TMA AVS-01" }, `verified ${i.verification}: ${levels[i.verification]}`),
      i.stale_at ? make("span", {}, `stale since ${day(i.stale_at)} ${clock(i.stale_at)}`) : null,
      i.assigned ? make("span", {}, `given to ${i.assigned}`) : null,
      i.disposition ? make("span", {}, i.disposition.replace("-", " ")) : null,
      ...Object.entries(i.suppressed).map(([policy, n]) => make("span", {}, `${n} held back by ${policy}`))),
    acts(i),
    i.procedure ? make("p", { class: "procedure" }, i.procedure) : null,
    ...(i.links.length ? [make("h3", {}, "Linked incidents"), ...i.links.map((l) =>
      make("p", {}, make("a", { href: `#/incidents/${l.id}` }, l.title ?? l.id), ` · ${clock(l.at)}`))] : []),
    make("h3", {}, "Why"), table(["time", "detection", "rule", "events"], i.detections.map(detection)),
    make("h3", {}, i.evidence_omitted ? `Evidence (${i.evidence_omitted} more contributed)` : "Evidence"),
    table(["time", "feed", "kind", "device", "event"], i.events.map(evidence)),
    make("h3", {}, "Timeline"),
    table(["time", "what", "who"], i.timeline.map((t) =>
      make("tr", {}, make("td", { class: "time" }, clock(t.at, true)), make("td", {}, t.text), make("td", {}, t.by ?? "")))),
    make("h3", {}, "Record"),
    make("p", { class: "why" }, "incident ", make("code", {}, i.id), " · configuration ", make("code", {}, i.config_hash),
      i.risk ? ` · risk ${i.risk}` : "", i.control ? ` · control ${i.control}` : ""));
  detail.querySelectorAll("details").forEach((d) => { d.open = open.has(d.firstChild.textContent); });
  detail.scrollTop = top;
}

const route = () => show(location.hash.match(/^#\/incidents\/(\w+)$/)?.[1] ?? null);

function listen() {
  const source = new EventSource(`/api/v1/incidents/live?since=${revision}`);
  const state = (name, text) => { link.dataset.state = name; link.textContent = text; };
  source.onopen = () => state("live", "live");
  source.onerror = () => state("lost", "connection lost, trying again");
  source.addEventListener("incident", (message) => {
    const incident = JSON.parse(message.data);
    place(incident, true);
    if (incident.id === shown) show(shown);
  });
}

async function figures() {
  try {
    const [{ books }, { sources }] = await Promise.all([get("/api/v1/books"), get("/api/v1/sources")]);
    const total = (name) => Object.values(books).reduce((n, b) => n + b[name], 0);
    const rejected = Object.values(books).flatMap((b) => Object.values(b.rejected)).reduce((a, b) => a + b, 0);
    const down = sources.filter((s) => !s.connected);
    const up = `${sources.length - down.length} of ${sources.length} up`;
    const items = [["deliveries", total("deliveries")], ["events", total("accepted")],
      ["duplicates", total("duplicate")], ["late", total("late")], ["rejected", rejected], ["sources", up]];
    document.getElementById("figures").replaceChildren(...items.map(([name, value]) => make("div", {},
      make("dt", {}, name), make("dd", { class: name === "sources" && down.length ? "bad" : null,
        title: name === "sources" ? down.map((s) => `${s.id}: ${s.reason}`).join("\n") : null }, value.toLocaleString("en")))));
  } catch { /* the connection's state is told by the live stream */ }
}

addEventListener("hashchange", route);
addEventListener("keydown", (event) => {
  if (event.target.closest("input, select, textarea") || event.ctrlKey || event.metaKey || event.altKey) return;
  const rows = [...list.querySelectorAll("a")];
  const at = rows.findIndex((a) => a === document.activeElement || (a.dataset.id === shown && !list.contains(document.activeElement)));
  if (event.key === "j") rows[Math.min(at + 1, rows.length - 1)]?.focus();
  else if (event.key === "k") rows[Math.max(at - 1, 0)]?.focus();
  else if (event.key === "Escape") { location.hash = ""; detail.replaceChildren(); rows[0]?.focus(); }
  else return;
  event.preventDefault();
});
filter.addEventListener("input", () => load(null));
filter.addEventListener("submit", (event) => event.preventDefault());
more.addEventListener("click", () => load(cursor));

await load(null);
listen();
route();
figures();
setInterval(figures, 2000);
