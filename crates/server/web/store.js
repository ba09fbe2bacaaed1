// Keeps conversations and settings in this browser, inside a fixed budget, one storage entry each.

const PREFIX = "brisk.conversation.";
const SETTINGS = "brisk.settings";
const CURRENT = "brisk.current";
const THEME = "brisk.theme";
const KEY = "brisk.api_key";

// Browsers give a page about 5 million UTF-16 units; half of it leaves room for two open tabs.
export const MAX_STORED_CHARS = 2_500_000;

/** All conversations, newest first. Entries that do not read as conversations are left out. */
export function loadConversations() {
  const found = [];
  for (const key of conversationKeys()) {
    const conversation = parseConversation(read("localStorage", key));
    if (conversation) found.push(conversation);
  }
  return found.sort((a, b) => b.updatedAt - a.updatedAt);
}

/**
 * Stores one conversation. Returns the older ones that were dropped to make room, or null
 * when it does not fit even alone.
 */
export function saveConversation(conversation) {
  const text = JSON.stringify(conversation);
  const key = PREFIX + conversation.id;
  const dropped = [];
  if (text.length > MAX_STORED_CHARS) return null;
  const others = loadConversations().filter((other) => other.id !== conversation.id);
  let numChars = others.reduce((sum, other) => sum + JSON.stringify(other).length, text.length);
  while (numChars > MAX_STORED_CHARS) numChars -= dropOldest(others, dropped);
  for (;;) {
    try {
      localStorage.setItem(key, text);
      return dropped;
    } catch {
      if (others.length === 0) return null;
      dropOldest(others, dropped);
    }
  }
}

export function removeConversation(id) {
  attempt(() => localStorage.removeItem(PREFIX + id));
}

export function newConversation() {
  const now = Date.now();
  return { id: randomId(), title: "", renamed: false, createdAt: now, updatedAt: now, messages: [], firstSent: 0 };
}

/** A name for a conversation that its owner has not named: the start of the first message. */
export function titleOf(conversation) {
  if (conversation.renamed && conversation.title) return conversation.title;
  const first = conversation.messages.find((message) => message.role === "user");
  if (!first) return "New conversation";
  const line = first.content.trim().replace(/\s+/g, " ");
  const chars = [...line];
  return chars.length > 48 ? `${chars.slice(0, 47).join("").trimEnd()}…` : line;
}

export function loadSettings() {
  try {
    const settings = JSON.parse(read("localStorage", SETTINGS) ?? "{}");
    return settings && typeof settings === "object" && !Array.isArray(settings) ? settings : {};
  } catch {
    return {};
  }
}

export function saveSettings(settings) {
  attempt(() => localStorage.setItem(SETTINGS, JSON.stringify(settings)));
}

// The key lives in the tab's session only, so that a shared computer forgets it.
export function loadApiKey() { return read("sessionStorage", KEY) ?? ""; }
export function saveApiKey(key) { attempt(() => sessionStorage.setItem(KEY, key)); }

export function loadCurrentId() { return read("sessionStorage", CURRENT) ?? read("localStorage", CURRENT); }
export function saveCurrentId(id) {
  attempt(() => sessionStorage.setItem(CURRENT, id));
  attempt(() => localStorage.setItem(CURRENT, id));
}

/** "light", "dark", or null while the system decides. */
export function loadTheme() {
  const theme = read("localStorage", THEME);
  return theme === "light" || theme === "dark" ? theme : null;
}
export function saveTheme(theme) {
  attempt(() => (theme ? localStorage.setItem(THEME, theme) : localStorage.removeItem(THEME)));
}

/** Calls back when another tab has changed a conversation. */
export function onChangeElsewhere(callback) {
  window.addEventListener("storage", (event) => {
    if (event.key === null || event.key.startsWith(PREFIX)) callback();
  });
}

/** One conversation as a Markdown document. */
export function asMarkdown(conversation) {
  const parts = [`# ${titleOf(conversation)}`];
  for (const message of conversation.messages) {
    if (!message.content) continue;
    const name = message.role === "user" ? "You" : message.model || "Assistant";
    parts.push(`## ${name}`, message.content.trimEnd());
  }
  return `${parts.join("\n\n")}\n`;
}

/** One conversation as JSON that another program can read or send on: OpenAI messages and the timings. */
export function asJson(conversation, system) {
  const messages = conversation.messages.filter((message) => message.content).map((message) => ({
    role: message.role,
    content: message.content,
    model: message.model,
    finish_reason: message.finishReason,
    usage: message.usage,
    timings: message.timings,
  }));
  if (system) messages.unshift({ role: "system", content: system });
  const created = new Date(conversation.createdAt).toISOString();
  return `${JSON.stringify({ title: titleOf(conversation), created, messages }, null, 2)}\n`;
}

function parseConversation(text) {
  let value;
  try {
    value = JSON.parse(text ?? "");
  } catch {
    return null;
  }
  if (typeof value?.id !== "string" || !Array.isArray(value.messages)) return null;
  const messages = value.messages.filter((message) =>
    (message?.role === "user" || message?.role === "assistant") && typeof message.content === "string");
  for (const message of messages) {
    // A reply that was still coming when the page went away ends where it was.
    if (message.state === "streaming") message.state = "stopped";
  }
  return {
    id: value.id,
    title: typeof value.title === "string" ? value.title : "",
    renamed: value.renamed === true,
    createdAt: Number(value.createdAt) || 0,
    updatedAt: Number(value.updatedAt) || 0,
    messages,
    // Messages before this index are shown but no longer sent, because the model could not hold them all.
    firstSent: Math.max(0, Math.min(Number(value.firstSent) || 0, messages.length)),
  };
}

function dropOldest(newestFirst, dropped) {
  const oldest = newestFirst.pop();
  removeConversation(oldest.id);
  dropped.push(oldest);
  return JSON.stringify(oldest).length;
}

function conversationKeys() {
  const keys = [];
  attempt(() => {
    for (let i = 0; i < localStorage.length; i += 1) {
      const key = localStorage.key(i);
      if (key?.startsWith(PREFIX)) keys.push(key);
    }
  });
  return keys;
}

// `crypto.randomUUID` exists on secure origins only; a page served over plain HTTP in a home network has none.
function randomId() {
  return [...crypto.getRandomValues(new Uint8Array(12))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

// Storage may be switched off or full; the page then simply forgets when it closes.
function attempt(action) {
  try {
    action();
  } catch {
    // Nothing to do: see above.
  }
}

function read(storageName, key) {
  try {
    return window[storageName].getItem(key);
  } catch {
    return null;
  }
}
