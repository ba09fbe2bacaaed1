// Speaks to the server: the model list, a streamed chat, Markdown, live figures, and errors as facts.

/** What went wrong, as facts: `kind` says whose move it is, the rest are the server's own words. */
export class ApiError extends Error {
  constructor(kind, message, facts = {}) {
    super(message);
    this.kind = kind; // "key" | "busy" | "context" | "request" | "server" | "network" | "cut"
    this.status = facts.status ?? 0;
    this.code = facts.code ?? null;
    this.param = facts.param ?? null;
    this.retryAfterS = facts.retryAfterS ?? null;
  }
}

let apiKey = "";
export function setApiKey(key) { apiKey = key.trim(); }

/** The models the server offers, `[{ id, ... }]`, each under its own name only. */
export async function listModels() {
  const response = await request("/v1/models", {});
  const cards = (await readJson(response)).data ?? [];
  return cards.filter(({ id, root }) => root === undefined || root === id);
}

/** Markdown to HTML, rendered and escaped by the server; the caller still filters what it inserts. */
export async function renderMarkdown(text) {
  const response = await request("/api/markdown", { body: { text } });
  return (await readJson(response)).html;
}

/**
 * Streams one reply. Yields the chunks of `/v1/chat/completions` as parsed JSON and returns when the
 * server says `[DONE]`; a stream that ends earlier is an error, for the reply is not whole.
 */
export async function* streamChat(body, signal) {
  const response = await request("/v1/chat/completions", {
    body: { ...body, stream: true, stream_options: { include_usage: true } },
    signal,
  });
  for await (const data of serverSentEvents(response.body, signal)) {
    if (data === "[DONE]") return;
    let chunk;
    try {
      chunk = JSON.parse(data);
    } catch {
      throw new ApiError("cut", "the server sent something this page cannot read");
    }
    if (chunk.error) throw errorFrom(chunk.error.status ?? 500, chunk.error, null);
    yield chunk;
  }
  throw new ApiError("cut", "the reply stopped before its end");
}

/**
 * The server's figures, one sample a second: those after `lastId` first, then each as it comes. Ends
 * when the server ends it.
 */
export async function* watchPerformance(lastId, signal) {
  const headers = lastId ? { "last-event-id": String(lastId) } : {};
  const response = await request("/api/performance/stream", { headers, signal });
  for await (const data of serverSentEvents(response.body, signal)) yield JSON.parse(data);
}

/** The `data` of each event in a byte stream of Server-Sent Events; comments and other fields are skipped. */
async function* serverSentEvents(stream, signal) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let data = [];
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const lines = (rest + value).split(/\r\n|\n|\r(?!$)/);
      rest = lines.pop();
      for (const line of lines) {
        if (line === "") {
          if (data.length > 0) yield data.join("\n");
          data = [];
        } else if (line.startsWith("data:")) {
          data.push(line.slice(line[5] === " " ? 6 : 5));
        }
      }
    }
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError("network", "the connection to the server was lost");
  } finally {
    reader.cancel().catch(() => {});
  }
}

async function request(path, { body, headers = {}, signal }) {
  if (apiKey) headers.authorization = `Bearer ${apiKey}`;
  if (body) headers["content-type"] = "application/json";
  let response;
  try {
    response = await fetch(path, {
      method: body ? "POST" : "GET",
      headers,
      body: body ? JSON.stringify(body) : undefined,
      signal,
      credentials: "omit",
      cache: "no-store",
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError("network", "the server cannot be reached");
  }
  if (response.ok) return response;
  let error = {};
  try {
    error = (await response.json()).error ?? {};
  } catch {
    // A proxy in between may answer with a page of its own; the status still says enough.
  }
  throw errorFrom(response.status, error, response.headers.get("retry-after"));
}

async function readJson(response) {
  try {
    return await response.json();
  } catch {
    throw new ApiError("cut", "the server sent something this page cannot read");
  }
}

function errorFrom(status, error, retryAfter) {
  const seconds = Number.parseInt(retryAfter ?? "", 10);
  const facts = {
    status,
    code: error.code,
    param: error.param,
    retryAfterS: Number.isFinite(seconds) ? Math.max(0, seconds) : null,
  };
  const message = error.message || `the server answered with status ${status}`;
  if (status === 401 || status === 403) return new ApiError("key", message, facts);
  if (status === 429 || status === 503) return new ApiError("busy", message, facts);
  if (error.code === "context_length_exceeded") return new ApiError("context", message, facts);
  if (status >= 400 && status < 500) return new ApiError("request", message, facts);
  return new ApiError("server", message, facts);
}
