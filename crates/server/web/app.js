// Ties the page together: what is shown, what is sent, and what happens when something goes wrong.

import * as api from "./api.js";
import * as chat from "./chat.js";
import * as key from "./key.js";
import * as store from "./store.js";
import { closeSidebar, keepAtEnd, notice, toEnd } from "./shell.js";
import * as view from "./view.js";

const $ = (id) => document.getElementById(id);
const [list, prompt] = [$("messages"), $("prompt")];

let conversations = store.loadConversations();
let current = conversations.find(({ id }) => id === store.loadCurrentId()) ?? conversations[0] ?? null;
let settings = store.loadSettings();
let models = [];
let leaving = false;
const runs = new Map(); // conversation id -> { controller, conversation, reply }
const rendered = new Map(); // reply text -> HTML from the server, newest last
const MAX_RENDERED = 300;

/* ---- conversations ---- */

function addConversation() {
  const unused = conversations.find((conversation) => conversation.messages.length === 0);
  current = unused ?? store.newConversation();
  if (!unused) conversations.unshift(current);
}

function openConversation(conversation) {
  current = conversation;
  store.saveCurrentId(current.id);
  closeSidebar();
  drawAll();
  if (!matchMedia("(pointer: coarse)").matches) prompt.focus();
}

function removeConversation(conversation) {
  runs.get(conversation.id)?.controller.abort();
  conversations = conversations.filter((other) => other !== conversation);
  store.removeConversation(conversation.id);
  if (current === conversation) {
    if (conversations.length === 0) addConversation();
    else current = conversations[0];
    drawAll();
  } else {
    drawSidebar();
  }
  $("new-chat").focus();
  if (conversation.messages.length === 0) return;
  notice(`Deleted “${store.titleOf(conversation)}”.`, "Undo", () => {
    conversations.push(conversation);
    save(conversation);
    openConversation(conversation);
  });
}

function renameConversation(conversation, name) {
  conversation.title = name;
  conversation.renamed = true;
  save(conversation);
  drawSidebar();
}

function save(conversation) {
  if (!conversations.includes(conversation) || conversation.messages.length === 0) return;
  const dropped = store.saveConversation(conversation);
  store.saveCurrentId(current.id);
  if (dropped === null) {
    notice("This browser has no room left for this conversation. It stays here until you close the page; export it to keep it.");
  } else if (dropped.length > 0) {
    const ids = new Set(dropped.map(({ id }) => id));
    conversations = conversations.filter(({ id }) => !ids.has(id));
    const names = dropped.map((old) => `“${store.titleOf(old)}”`).join(", ");
    notice(`To make room, the oldest of your conversations went: ${names}.`);
  }
}

store.onChangeElsewhere(() => {
  // Another tab's changes come in; a conversation whose reply is being written here is left as it is.
  const fresh = store.loadConversations().map((stored) =>
    conversations.find(({ id }) => id === stored.id && runs.has(id)) ?? stored);
  const unsaved = conversations.filter((old) => (old.messages.length === 0 || runs.has(old.id)) && !fresh.some(({ id }) => id === old.id));
  conversations = [...unsaved, ...fresh];
  const next = conversations.find(({ id }) => id === current.id);
  const changed = JSON.stringify(next) !== JSON.stringify(current);
  if (next) current = next;
  else if (conversations.length > 0) [current] = conversations;
  else addConversation();
  if (changed) drawAll();
  else drawSidebar();
});

// Going away breaks the connections first; that is not the server's doing.
window.addEventListener("beforeunload", () => { leaving = true; });
window.addEventListener("pagehide", () => {
  for (const { conversation } of runs.values()) save(conversation);
});

/* ---- sending ---- */

function send(text) {
  const content = text.trim();
  if (!content || runs.has(current.id)) return;
  current.messages.push({ role: "user", content, createdAt: Date.now() });
  run(current);
}

function resend(message, text) {
  stop(current);
  current.messages.length = current.messages.indexOf(message);
  current.firstSent = Math.min(current.firstSent, current.messages.length);
  send(text);
  prompt.focus();
}

function regenerate(message) {
  const conversation = current;
  conversation.messages.length = conversation.messages.indexOf(message);
  run(conversation);
  prompt.focus();
}

function stop(conversation) {
  runs.get(conversation.id)?.controller.abort();
}

async function run(conversation) {
  leaving = false;
  const controller = new AbortController();
  const body = chat.requestBody(conversation, settings, modelId());
  const reply = { role: "assistant", content: "", state: "streaming", model: modelId(), createdAt: Date.now() };
  conversation.messages.push(reply);
  conversation.updatedAt = Date.now();
  conversations.sort((a, b) => b.updatedAt - a.updatedAt);
  runs.set(conversation.id, { controller, conversation, reply });
  save(conversation);
  if (conversation === current) drawAll();
  try {
    await chat.readReply(reply, api.streamChat(body, controller.signal), (piece) => showPiece(reply, piece));
    reply.state = "done";
  } catch (error) {
    reply.state = controller.signal.aborted || leaving ? "stopped" : "error";
    if (reply.state === "error") reply.problem = chat.describe(error);
  }
  if (runs.get(conversation.id)?.reply === reply) runs.delete(conversation.id);
  if (reply.state === "stopped" && !reply.content) conversation.messages = conversation.messages.filter((message) => message !== reply);
  conversation.updatedAt = Date.now();
  save(conversation);
  if (conversation === current) drawAll({ finished: true });
  else drawSidebar();
  announce(reply);
}

function showPiece(reply, piece) {
  const live = list.querySelector(".message[data-state='streaming']")?.live;
  if (runs.get(current.id)?.reply !== reply || !live) return;
  keepAtEnd(() => live.append(piece));
  const speed = reply.tokensPerSecond > 0 ? ` · about ${view.figure(reply.tokensPerSecond)} tokens/s` : "";
  live.figures(`${view.duration(reply.firstTokenMs)} to first token${speed}`);
}

/* ---- when something goes wrong ---- */

/** The buttons under a problem: the likeliest way out first. */
function waysOut(message) {
  const retry = ["Try again", () => regenerate(message)];
  if (message.problem.kind === "key") return [["Enter a key", () => askForKey(() => regenerate(message))]];
  if (message.problem.kind === "request") return [["Open the settings", openSettings], retry];
  if (message.problem.kind !== "context") return [retry];
  const turns = userTurnsSent();
  const fresh = ["New conversation", startConversation];
  return turns.length > 1 ? [["Try again without the oldest messages", () => leaveOutOldest(message, turns)], fresh] : [fresh];
}

function userTurnsSent() {
  return current.messages.flatMap(({ role }, index) => (role === "user" && index >= current.firstSent ? [index] : []));
}

function leaveOutOldest(message, turns) {
  current.firstSent = turns[Math.ceil(turns.length / 2)];
  regenerate(message);
}

/** Tells a screen reader how a reply ended; while it streams, silence is kinder. */
function announce(reply) {
  const start = reply.content.length > 600 ? `${reply.content.slice(0, 600)} …` : reply.content;
  const words = reply.problem ? `${reply.problem.title}. ${reply.problem.detail}` : `${reply.state === "stopped" ? "Stopped. " : ""}Reply: ${start}`;
  $("announcer").textContent = words;
}

/* ---- the server ---- */

async function connect() {
  try {
    models = await api.listModels();
    drawModel("on");
  } catch (error) {
    drawModel(error.kind === "busy" ? "loading" : "off");
    if (error.kind === "key") askForKey(connect);
    else if (error.kind === "busy") setTimeout(connect, 1000 * Math.max(1, error.retryAfterS ?? 2));
    else notice("The server cannot be reached.", "Try again", connect);
  }
}

function modelId() {
  const wanted = models.find(({ id }) => id === settings.model);
  return (wanted ?? models[0])?.id ?? "";
}

const isDemo = () => /demo/i.test(modelId());

function drawModel(state) {
  const id = modelId();
  $("model-chip").dataset.state = state;
  $("model-name").textContent = state === "on" ? id : state === "loading" ? "the model is loading" : "not connected";
  $("model-chip").title = id;
  const select = $("settings-form").elements.model;
  select.replaceChildren(...models.map((model) => view.el("option", { value: model.id, textContent: model.id, selected: model.id === id })));
  $("model-field").hidden = models.length < 2;
  prompt.placeholder = id ? `Message ${id}` : "Message the model";
  drawEmpty();
}

function askForKey(then) {
  key.askForKey(() => {
    connect();
    if (then !== connect) then();
  });
}

/* ---- drawing ---- */

function drawAll({ finished = false } = {}) {
  const running = runs.has(current.id);
  document.title = current.messages.length > 0 ? `${store.titleOf(current)} · Brisk` : "Brisk";
  $("title").textContent = store.titleOf(current);
  $("send").hidden = running;
  $("stop").hidden = !running;
  $("export").disabled = current.messages.length === 0;
  drawSidebar();
  drawEmpty();
  const acts = { resend, regenerate, waysOut, isLast: (message) => message === current.messages.at(-1) };
  const items = current.messages.map((message) => {
    const item = view.messageItem(message, acts);
    if (message.role === "assistant" && message.content && message.state !== "streaming") drawMarkdown(item, message.content);
    return item;
  });
  if (current.firstSent > 0) items.splice(current.firstSent, 0, view.el("li", { className: "divider", textContent: "Messages above this line are no longer sent to the model" }));
  // What has just been said comes in softly; a reply that ends does not come in again.
  if (!finished) items.at(-1)?.classList.add("fresh");
  // A reader who has scrolled up to read stays there when the reply ends.
  if (finished) keepAtEnd(() => list.replaceChildren(...items));
  else list.replaceChildren(...items);
  if (!finished) toEnd();
}

async function drawMarkdown(item, text) {
  try {
    const html = rendered.get(text) ?? await api.renderMarkdown(text);
    rendered.delete(text);
    rendered.set(text, html);
    if (rendered.size > MAX_RENDERED) rendered.delete(rendered.keys().next().value);
    keepAtEnd(() => view.showMarkdown(item, html));
  } catch {
    // Plain text stays: it says the same, less handsomely.
  }
}

function drawSidebar() {
  const shown = conversations.filter((conversation) => conversation.messages.length > 0);
  view.drawConversations($("conversation-list"), shown, current.id, store.titleOf, {
    open: openConversation, remove: removeConversation, rename: renameConversation,
  });
  $("title").textContent = store.titleOf(current);
}

const SUGGESTIONS = [
  "Explain how a heat pump works to a ten-year-old.",
  "Write a polite reminder for an invoice that is two weeks late.",
  "What should I look at before I sign a rental contract?",
  "Give me three ideas for a dinner in twenty minutes.",
];
const DEMO_SUGGESTIONS = [
  "What is Brisk?",
  "How do I load my own model?",
  "What makes Brisk fast?",
  "Which endpoints are there?",
];

function drawEmpty() {
  const empty = current.messages.length === 0;
  $("empty").hidden = !empty;
  list.hidden = empty;
  if (!empty) return;
  $("empty-text").replaceChildren(...(isDemo()
    ? ["This is a small demonstration model that only knows about Brisk. Load a real one: ", view.el("code", { textContent: "brisk serve --model model.gguf" })]
    : ["Ask anything. Every reply shows how long it took and where the time went."]));
  $("empty-title").textContent = isDemo() ? "Ask me about Brisk" : "What would you like to know?";
  $("suggestions").replaceChildren(...(isDemo() ? DEMO_SUGGESTIONS : SUGGESTIONS).map((text) =>
    view.el("li", {}, view.el("button", { type: "button", textContent: text, onclick: () => send(text) }))));
}

/* ---- controls ---- */

$("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  if (!prompt.value.trim() || runs.has(current.id)) return;
  const text = prompt.value;
  prompt.value = "";
  view.fitHeight(prompt);
  send(text);
});
prompt.addEventListener("input", () => view.fitHeight(prompt));
prompt.addEventListener("keydown", (event) => {
  if (!view.isSendKey(event)) return;
  event.preventDefault();
  $("composer").requestSubmit();
});
$("stop").onclick = () => {
  stop(current);
  prompt.focus();
};
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || document.querySelector("dialog[open], :popover-open")) return;
  if (!closeSidebar(true)) stop(current);
});

function startConversation() {
  addConversation();
  openConversation(current);
}
$("new-chat").onclick = startConversation;

$("export-menu").addEventListener("click", (event) => {
  const kind = event.target.dataset.export;
  if (!kind) return;
  const text = kind === "md" ? store.asMarkdown(current) : store.asJson(current, settings.system);
  const name = store.titleOf(current).replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-+|-+$/g, "").toLowerCase() || "conversation";
  const address = URL.createObjectURL(new Blob([text], { type: kind === "md" ? "text/markdown" : "application/json" }));
  view.el("a", { href: address, download: `${name}.${kind}` }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
  $("export-menu").hidePopover();
});

function openSettings() {
  for (const field of $("settings-form").elements) {
    if (field.name === "api_key") field.value = store.loadApiKey();
    else if (field.name && field.name !== "model") field.value = settings[field.name] ?? "";
  }
  $("settings").showModal();
}
$("open-settings").onclick = openSettings;
$("settings").onclick = (event) => { if (event.target === $("settings")) $("settings").close(); };
$("settings-form").addEventListener("change", ({ target }) => {
  if (target.name === "api_key") {
    store.saveApiKey(target.value);
    api.setApiKey(target.value);
    connect();
  } else if (target.validity.valid) {
    const value = target.type === "number" ? target.valueAsNumber : target.value;
    if (value === "" || Number.isNaN(value)) delete settings[target.name];
    else settings[target.name] = value;
    store.saveSettings(settings);
    if (target.name === "model") drawModel("on");
  } else {
    target.reportValidity();
  }
});
$("reset-settings").onclick = () => {
  settings = {};
  store.saveSettings(settings);
  for (const field of $("settings-form").elements) if (field.name && field.name !== "api_key" && field.name !== "model") field.value = "";
  drawModel("on");
};

/* ---- start ---- */

if (!current) addConversation();
$("api-base").textContent = `${location.origin}/v1`;
drawAll();
connect();
