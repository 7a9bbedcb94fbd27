// Keys, the chosen stage, folding. Everything here also works without it, by links and forms; markup comes from the
// server alone.

const CHORD_MS = 1200;
let chordUntil = 0;

const items = () => [...document.querySelectorAll("[data-item]")].filter((item) => !item.hidden);

function typing(target) {
  return target.closest("input, textarea, select, [contenteditable]") !== null;
}

function move(step) {
  const all = items();
  if (!all.length) return;
  const at = all.indexOf(document.activeElement);
  const next = at < 0 ? (step > 0 ? 0 : all.length - 1) : Math.min(all.length - 1, Math.max(0, at + step));
  all[next].focus();
  all[next].scrollIntoView({ block: "nearest" });
}

function go(key) {
  document.querySelector(`[data-go="${CSS.escape(key)}"]`)?.click();
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
  const dialog = document.getElementById("keys");
  if (dialog?.open) return;
  if (performance.now() < chordUntil) {
    chordUntil = 0;
    go(event.key);
    return;
  }
  switch (event.key) {
    case "j": move(1); break;
    case "k": move(-1); break;
    case "g": chordUntil = performance.now() + CHORD_MS; break;
    case "u": document.querySelector("[data-up]")?.click(); break;
    case "/": document.querySelector("[data-search]")?.focus(); break;
    case "?": dialog?.showModal(); break;
    case "ArrowLeft": fold(event.target.closest(".tree a"), true); return;
    case "ArrowRight": fold(event.target.closest(".tree a"), false); return;
    default: {
      const button = /^[1-9]$/.test(event.key) && document.querySelector(`[data-verdict="${event.key}"]`);
      if (!button) return;
      button.click();
    }
  }
  event.preventDefault();
}

// A stage is folded by hiding the rows after it that are deeper.
function fold(row, folded) {
  if (!row?.querySelector(".tw")) return;
  row.classList.toggle("folded", folded);
  const depth = Number(row.dataset.d);
  let hiddenBelow = folded ? depth : Infinity;
  for (let next = row.nextElementSibling; next && Number(next.dataset.d) > depth; next = next.nextElementSibling) {
    const at = Number(next.dataset.d);
    if (at <= hiddenBelow) hiddenBelow = folded ? depth : Infinity;
    next.hidden = at > hiddenBelow;
    if (!next.hidden && next.classList.contains("folded")) hiddenBelow = at;
  }
}

async function choose(row) {
  for (const other of row.parentElement.querySelectorAll("[aria-current]")) other.removeAttribute("aria-current");
  row.setAttribute("aria-current", "true");
  const address = row.getAttribute("href").split("#")[0];
  history.replaceState(null, "", address);
  await htmx.ajax("GET", address, { target: "#stage", swap: "innerHTML" });
}

function onClick(event) {
  const row = event.target.closest(".tree a");
  if (!row || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  if (event.target.closest(".tw")) fold(row, !row.classList.contains("folded"));
  else choose(row);
}

// A question is sent by script so that each agent's progress can be shown; in the end the answer's own page is opened.
// The server works on it whether or not this page listens: a page that is opened anew listens on.
const TRIES = 6;

async function ask(form) {
  form.querySelector(".told, .wrong")?.remove();
  const run = { told: list(form), after: 0, then: form.elements.then?.value ?? "", form };
  const button = form.querySelector("button");
  button.disabled = true;
  const body = new URLSearchParams(new FormData(form));
  await listen(run, () => fetch(form.dataset.stream, { method: "POST", body, headers: { Accept: "text/event-stream" } }));
  form.querySelector(".stop")?.remove();
  button.disabled = false;
}

function follow(place) {
  const run = { told: place.querySelector(".progress"), after: 0, then: "", events: place.dataset.follow };
  return listen(run, () => fetchEvents(run));
}

function fetchEvents(run) {
  return fetch(`${run.events}?${new URLSearchParams({ after: run.after, then: run.then })}`);
}

// Reads what a run tells until it ends; a connection that breaks is made again where it broke.
async function listen(run, first) {
  let request = first;
  for (let number = 1; !run.ended && number <= TRIES; number++) {
    try {
      const reply = await request();
      if (!reply.ok) break;
      await readEvents(reply.body, (name, data, id) => take(run, name, data, id));
    } catch { /* broken off: asked for again below */ }
    if (run.ended || !run.events) break;
    request = () => fetchEvents(run);
    await new Promise((done) => setTimeout(done, 500 * number));
  }
  if (!run.ended) tell(run.told, "", "The connection was lost. The answer may still come: reload this page.", true);
}

function take(run, name, data, id) {
  if (id) run.after = id;
  switch (name) {
    case "begun":
      run.events = `/ui/chat/runs/${data.run}/events`;
      if (location.pathname === "/ui/chat") history.replaceState(null, "", data.where);
      run.form.append(stopper(data.run, run.form.elements.csrf.value));
      return;
    case "progress": tell(run.told, data.agent, data.text, false); return;
    case "error": tell(run.told, "", data.text, true); break;
    case "cancelled":
      if (run.form) tell(run.told, "", "Stopped.", false);
      else open(data.where);
      break;
    case "answer": open(data.where); break;
    default: return;
  }
  run.ended = true;
}

function stopper(run, csrf) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "quiet stop";
  button.textContent = "Stop";
  button.addEventListener("click", () => {
    button.disabled = true;
    fetch(`/ui/chat/runs/${run}/cancel`, { method: "POST", body: new URLSearchParams({ csrf }), redirect: "manual" });
  });
  return button;
}

function list(form) {
  const place = document.createElement("div");
  place.className = "told";
  place.setAttribute("role", "status");
  const told = document.createElement("ol");
  told.className = "progress";
  place.append(told);
  form.append(place);
  return told;
}

function open(where) {
  const before = location.href.split("#")[0];
  location.assign(where);
  if (new URL(where, location).href.split("#")[0] === before) location.reload();
}

function tell(list, agent, text, wrong) {
  const line = document.createElement("li");
  if (wrong) line.className = "wrong";
  const name = document.createElement("b");
  name.textContent = agent;
  line.append(name, ` ${text}`);
  list.append(line);
}

async function readEvents(stream, found) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const events = (rest + value).split("\n\n");
    rest = events.pop();
    for (const event of events) {
      const fields = Object.fromEntries(event.split("\n").map((line) => line.split(/: (.*)/s)));
      if (fields.event && fields.data) found(fields.event, JSON.parse(fields.data), Number(fields.id ?? 0));
    }
  }
}

function onSubmit(event) {
  if (!event.target.dataset.stream) return;
  event.preventDefault();
  ask(event.target);
}

document.addEventListener("submit", onSubmit);
document.addEventListener("keydown", onKey);
document.addEventListener("click", onClick);
document.querySelectorAll("[data-follow]").forEach(follow);
document.documentElement.dataset.script = "ready";
