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

document.addEventListener("keydown", onKey);
document.addEventListener("click", onClick);
document.documentElement.dataset.script = "ready";
