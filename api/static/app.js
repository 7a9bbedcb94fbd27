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
async function ask(form) {
  const told = document.createElement("ol");
  told.className = "progress";
  told.setAttribute("role", "status");
  form.querySelector(".progress, .wrong")?.remove();
  form.append(told);
  const button = form.querySelector("button");
  button.disabled = true;
  try {
    const body = new URLSearchParams(new FormData(form));
    const reply = await fetch(form.dataset.stream, { method: "POST", body, headers: { Accept: "text/event-stream" } });
    if (!reply.ok) throw new Error(await reply.text());
    await readEvents(reply.body, (name, data) => {
      if (name === "answer") open(data.where);
      else tell(told, data.agent ?? "", data.text, name === "error");
    });
  } catch {
    tell(told, "", "The connection was lost. The answer may still come: see the incidents.", true);
  }
  button.disabled = false;
}

function open(where) {
  location.assign(where);
  if (new URL(where, location).href.split("#")[0] === location.href.split("#")[0]) location.reload();
}

function tell(list, agent, text, wrong) {
  const line = document.createElement("li");
  if (wrong) line.className = "wrong";
  const name = document.createElement("b");
  name.textContent = agent;
  line.append(name, ` ${text}`);
  list.append(line);
}

async function readEvents(stream, take) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const events = (rest + value).split("\n\n");
    rest = events.pop();
    for (const event of events) {
      const fields = Object.fromEntries(event.split("\n").map((line) => line.split(/: (.*)/s)));
      if (fields.event && fields.data) take(fields.event, JSON.parse(fields.data));
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
document.documentElement.dataset.script = "ready";
