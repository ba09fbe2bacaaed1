// The page around the conversation: the sidebar on a narrow screen, notices and scrolling.

import "./theme.js";
import { el, icon } from "./view.js";

const $ = (id) => document.getElementById(id);
const log = $("log");

/** One line above the message box, with at most one thing to do about it. */
export function notice(text, label, action) {
  const box = el("div", { className: "notice" }, el("p", { textContent: text }));
  if (label) box.append(el("button", { type: "button", className: "button", textContent: label, onclick: () => { box.remove(); action(); } }));
  const close = el("button", { type: "button", className: "icon-button", ariaLabel: "Dismiss", onclick: () => box.remove() }, icon("close"));
  box.append(close);
  $("notices").replaceChildren(box);
  return box;
}

/* ---- sidebar ---- */

function openSidebar() {
  document.body.classList.add("sidebar-open");
  $("backdrop").hidden = false;
  $("open-sidebar").ariaExpanded = "true";
  document.querySelector("main").inert = true;
  $("close-sidebar").focus();
}
/** Closes the list of conversations on a narrow screen; says whether it was open. */
export function closeSidebar(giveFocusBack) {
  if (!document.body.classList.contains("sidebar-open")) return false;
  document.body.classList.remove("sidebar-open");
  $("backdrop").hidden = true;
  $("open-sidebar").ariaExpanded = "false";
  document.querySelector("main").inert = false;
  if (giveFocusBack) $("open-sidebar").focus();
  return true;
}
$("open-sidebar").onclick = openSidebar;
$("close-sidebar").onclick = () => closeSidebar(true);
$("backdrop").onclick = () => closeSidebar(true);

/* ---- scrolling ---- */

const isAtEnd = () => log.scrollHeight - log.scrollTop - log.clientHeight < 60;

export function toEnd() {
  log.scrollTop = log.scrollHeight;
}

/** Follows the newest words, unless the reader has scrolled up. */
export function keepAtEnd(change) {
  const follow = isAtEnd();
  change();
  if (follow) toEnd();
}

log.addEventListener("scroll", () => { $("jump").hidden = isAtEnd(); }, { passive: true });
$("jump").onclick = toEnd;
