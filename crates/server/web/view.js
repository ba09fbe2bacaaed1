// Draws messages, figures, problems and the list of conversations; decides nothing and stores nothing.

const SVG = "http://www.w3.org/2000/svg";

/** An element with properties and children; text children become text nodes, never markup. */
export function el(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in node && name !== "list") node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  const use = document.createElementNS(SVG, "use");
  svg.setAttribute("aria-hidden", "true");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

function iconButton(name, label, onclick) {
  return el("button", { type: "button", className: "icon-button", title: label, ariaLabel: label, onclick }, icon(name));
}

/** One message of a conversation. `acts` holds what its buttons do. */
export function messageItem(message, acts) {
  return message.role === "user" ? userItem(message, acts) : replyItem(message, acts);
}

function userItem(message, acts) {
  const item = el("li", { className: "message user" });
  const body = el("div", { className: "body", textContent: message.content });
  const actions = el("div", { className: "actions" },
    copyButton(() => message.content),
    iconButton("edit", "Edit and send again", () => startEdit(item, message, acts)));
  item.append(el("h2", { className: "hidden", textContent: "You" }), body, actions);
  return item;
}

function startEdit(item, message, acts) {
  const before = [...item.children];
  const box = el("textarea", { value: message.content, ariaLabel: "Edit your message" });
  const back = () => {
    item.classList.remove("editing");
    item.replaceChildren(...before);
    before[2].lastElementChild.focus();
  };
  const form = el("form", { className: "edit" }, box, el("div", { className: "row" },
    el("button", { type: "button", className: "button", textContent: "Cancel", onclick: back }),
    el("button", { type: "submit", className: "button primary", textContent: "Send again" })));
  form.onsubmit = (event) => {
    event.preventDefault();
    if (box.value.trim()) acts.resend(message, box.value);
  };
  box.oninput = () => fitHeight(box);
  box.onkeydown = (event) => {
    if (event.key === "Escape") {
      event.stopPropagation();
      back();
    } else if (isSendKey(event)) {
      event.preventDefault();
      form.requestSubmit();
    }
  };
  item.classList.add("editing");
  item.replaceChildren(before[0], form);
  fitHeight(box);
  box.focus();
  box.setSelectionRange(box.value.length, box.value.length);
}

function replyItem(message, acts) {
  const item = el("li", { className: "message reply" });
  item.dataset.state = message.state;
  const text = document.createTextNode(message.content);
  const body = el("div", { className: "body plain" }, text);
  const foot = el("div", { className: "foot" });
  const isProblem = message.problem && !message.content;
  item.append(el("h2", { className: isProblem ? "hidden" : "who", textContent: message.model || "Reply" }), body);
  if (message.state === "streaming") {
    const waiting = el("span", { className: "waiting" }, icon("strokes"), el("span", { className: "hidden", textContent: "Waiting for the first word" }));
    if (!message.content) body.append(waiting);
    const live = el("p", { className: "figures live" });
    foot.append(live);
    item.live = {
      append(piece) {
        waiting.remove();
        text.appendData(piece);
      },
      figures(words) { live.textContent = words; },
    };
  } else {
    if (message.problem) item.append(problemCard(message, acts));
    const actions = el("div", { className: "actions" });
    if (message.content) actions.append(copyButton(() => message.content));
    if (acts.isLast(message) && !message.problem) actions.append(iconButton("redo", "Write the reply again", () => acts.regenerate(message)));
    foot.append(figures(message), actions);
  }
  if (!message.content && message.state !== "streaming") body.remove();
  item.append(foot);
  return item;
}

/** Puts filtered Markdown in the place of a finished reply's plain text. */
export function showMarkdown(item, html) {
  const body = item.querySelector(".body");
  if (!body) return;
  body.replaceChildren(...filtered(html));
  body.classList.remove("plain");
  for (const pre of body.querySelectorAll("pre")) {
    pre.tabIndex = 0;
    const block = el("div", { className: "code-block" });
    pre.replaceWith(block);
    const head = el("div", { className: "code-head" }, el("span", { textContent: pre.dataset.language ?? "" }), copyButton(() => pre.textContent, "Copy the code"));
    block.append(head, pre);
  }
  for (const table of body.querySelectorAll("table")) {
    const scroll = el("div", { className: "scroll", tabIndex: 0 });
    table.replaceWith(scroll);
    scroll.append(table);
  }
}

const KEPT_TAGS = new Set(["P", "BR", "HR", "STRONG", "EM", "DEL", "S", "SUP", "SUB", "CODE", "PRE", "BLOCKQUOTE", "UL", "OL", "LI",
  "TABLE", "THEAD", "TBODY", "TR", "TH", "TD", "A", "H1", "H2", "H3", "H4", "H5", "H6"]);

// A model's words are a stranger's words. The server escapes them; this builds every node anew from a
// short list of tags and keeps no attribute but the address of an ordinary link.
function filtered(html) {
  const parsed = new DOMParser().parseFromString(html, "text/html");
  // A message's own heading is an h2, so its text begins at h3 and skips no level.
  const used = new Set([...parsed.querySelectorAll("h1, h2, h3, h4, h5, h6")].map(({ tagName }) => tagName));
  const headings = new Map([...used].sort().map((tag, rank) => [tag, `h${Math.min(6, rank + 3)}`]));
  return [...parsed.body.childNodes].map((node) => rebuilt(node, headings, 0));
}

function rebuilt(node, headings, depth) {
  if (node.nodeType === Node.TEXT_NODE) return document.createTextNode(node.data);
  if (node.nodeType !== Node.ELEMENT_NODE) return document.createTextNode("");
  if (node.tagName === "IMG") return document.createTextNode(`[image: ${node.getAttribute("alt") || "no description"}]`);
  if (!KEPT_TAGS.has(node.tagName) || depth > 60) return document.createTextNode(node.textContent);
  const copy = document.createElement(headings.get(node.tagName) ?? node.tagName);
  if (node.tagName === "A") {
    const href = node.getAttribute("href") ?? "";
    if (/^(https?:\/\/|mailto:)/i.test(href)) {
      copy.href = href;
      copy.target = "_blank";
      copy.rel = "noopener noreferrer nofollow";
    }
  }
  if (node.tagName === "OL" && /^\d{1,9}$/.test(node.getAttribute("start") ?? "")) copy.start = Number(node.getAttribute("start"));
  if (node.tagName === "PRE") {
    const language = /(?:^|\s)language-([\w+#.-]{1,20})/.exec(node.firstElementChild?.className ?? "")?.[1];
    if (language) copy.dataset.language = language;
  }
  copy.append(...[...node.childNodes].map((child) => rebuilt(child, headings, depth + 1)));
  return copy;
}

function problemCard(message, acts) {
  const { problem } = message;
  const row = el("div", { className: "row" });
  for (const [label, action] of acts.waysOut(message)) {
    const button = el("button", { type: "button", className: "button", textContent: label, onclick: action });
    row.append(button);
    if (problem.notBefore && row.children.length === 1) countDown(button, label, problem.notBefore);
  }
  return el("div", { className: "problem" },
    el("p", { className: "problem-title", textContent: problem.title }),
    el("p", { textContent: problem.detail }), row);
}

// Keeps "Try again" closed for as long as the server asked to be left alone.
function countDown(button, label, notBefore) {
  const tick = () => {
    const seconds = Math.ceil((notBefore - Date.now()) / 1000);
    button.disabled = seconds > 0;
    button.textContent = seconds > 0 ? `${label} in ${seconds} s` : label;
    if (seconds > 0) setTimeout(tick, 250);
  };
  tick();
}

const PHASES = [["cache_lookup_ms", "Looking for a kept reply", "lookup"], ["queue_ms", "Waiting", "queue"], ["tokenize_ms", "Tokenizing", "tokenize"],
  ["prompt_ms", "Reading", "prefill"], ["predicted_ms", "Writing", "decode"]];

/** A finished reply's figures: one line, and behind it a bar and a table of where the time went. */
function figures(message) {
  const timings = message.timings ?? {};
  const summary = summaryLine(message);
  const phases = PHASES.filter(([name]) => timings[name] > 0);
  if (phases.length === 0) return el("p", { className: "figures", textContent: summary });
  const total = phases.reduce((sum, [name]) => sum + timings[name], 0);
  const bar = el("div", { className: "bar", ariaHidden: "true" });
  const rows = el("dl", { className: "phases" });
  for (const [name, label, kind] of phases) {
    const part = el("span", { className: kind });
    part.style.flexGrow = String(Math.max(timings[name] / total, 0.004));
    bar.append(part);
    rows.append(el("dt", {}, el("span", { className: `swatch ${kind}` }), label), el("dd", { textContent: phaseWords(name, timings) }));
  }
  const details = el("details", { className: "figures" }, el("summary", { textContent: summary }), bar, rows);
  details.ontoggle = () => details.parentElement.scrollIntoView({ block: "nearest" });
  return details;
}

/** A reply that was generated for an equal request took no time to generate now. */
const isKept = (timings) => timings.cache_lookup_ms > 0 && timings.predicted_ms === 0;

function summaryLine(message) {
  const timings = message.timings ?? {};
  const parts = [];
  if (message.state === "stopped") parts.push("stopped");
  if (message.finishReason === "length") parts.push("reached the token limit");
  if (isKept(timings)) parts.push("a kept reply");
  const firstToken = timings.time_to_first_token_ms ?? message.firstTokenMs;
  if (firstToken >= 0) parts.push(`${duration(firstToken)} to first token`);
  if (timings.predicted_per_second > 0) parts.push(`${figure(timings.predicted_per_second)} tokens/s`);
  else if (message.tokensPerSecond > 0) parts.push(`about ${figure(message.tokensPerSecond)} tokens/s`);
  const numTokens = message.usage?.completion_tokens;
  if (numTokens > 0) parts.push(`${numTokens} ${numTokens === 1 ? "token" : "tokens"}`);
  return parts.join(" · ");
}

function phaseWords(name, timings) {
  const words = [duration(timings[name])];
  const num = name === "prompt_ms" ? timings.prompt_n : name === "predicted_ms" ? timings.predicted_n : null;
  const rate = name === "prompt_ms" ? timings.prompt_per_second : name === "predicted_ms" ? timings.predicted_per_second : null;
  if (num > 0) words.push(`${num} tokens`);
  if (rate > 0) words.push(`${figure(rate)} tokens/s`);
  if (name === "prompt_ms" && timings.cache_n > 0) words.push(`${timings.cache_n} remembered`);
  return words.join(" · ");
}

export function duration(ms) {
  return ms < 1000 ? `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms` : `${(ms / 1000).toFixed(ms < 10_000 ? 2 : 1)} s`;
}

export function figure(value) {
  return value < 10 ? value.toFixed(1) : Math.round(value).toLocaleString("en");
}

/** The list at the side. */
export function drawConversations(list, conversations, currentId, titleOf, acts) {
  list.replaceChildren(...conversations.map((conversation) => {
    const title = titleOf(conversation);
    const open = el("button", { type: "button", className: "open", title, textContent: title, onclick: () => acts.open(conversation) });
    if (conversation.id === currentId) open.setAttribute("aria-current", "true");
    const item = el("li", {}, open,
      iconButton("edit", `Rename “${title}”`, () => startRename(item, title, (name) => acts.rename(conversation, name))),
      iconButton("trash", `Delete “${title}”`, () => acts.remove(conversation)));
    return item;
  }));
}

function startRename(item, title, rename) {
  const before = [...item.children];
  const input = el("input", { value: title, maxLength: 120, ariaLabel: "New name of the conversation" });
  let finished = false;
  const finish = (keep) => {
    if (finished) return;
    finished = true;
    item.replaceChildren(...before);
    if (keep && input.value.trim() && input.value.trim() !== title) rename(input.value.trim());
    else before[1].focus();
  };
  input.onkeydown = (event) => {
    event.stopPropagation();
    if (event.key === "Enter" && !event.isComposing) finish(true);
    if (event.key === "Escape") finish(false);
  };
  input.onblur = () => finish(true);
  item.replaceChildren(input);
  input.select();
}

function copyButton(text, label = "Copy") {
  const button = iconButton("copy", label, async () => {
    const copied = await copyText(text());
    button.replaceChildren(icon(copied ? "check" : "close"));
    button.ariaLabel = button.title = copied ? "Copied" : "This browser did not allow copying";
    setTimeout(() => {
      button.replaceChildren(icon("copy"));
      button.ariaLabel = button.title = label;
    }, 1600);
  });
  return button;
}

// The clipboard API needs a secure origin; a page served over plain HTTP in a home network has the old way only.
async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const box = el("textarea", { value: text, className: "hidden", ariaHidden: "true" });
    document.body.append(box);
    box.select();
    const copied = document.execCommand("copy");
    box.remove();
    return copied;
  }
}

/** Enter sends where there is a keyboard to hold Shift on; on a phone it starts a new line. */
export function isSendKey(event) {
  return event.key === "Enter" && !event.shiftKey && !event.isComposing && !matchMedia("(pointer: coarse)").matches;
}

export function fitHeight(box) {
  box.style.height = "auto";
  box.style.height = `${box.scrollHeight + 2}px`;
}
