// One exchange with the model: what is sent, how the reply is gathered, and what a failure means in words.

const NUMBERS = ["temperature", "top_p", "top_k", "max_tokens", "seed", "repetition_penalty"];

/** The body of a chat request; settings that its owner left empty are the server's to choose. */
export function requestBody(conversation, settings, model) {
  const body = model ? { model } : {};
  for (const name of NUMBERS) {
    if (typeof settings[name] === "number") body[name] = settings[name];
  }
  body.messages = [];
  for (const { role, content } of conversation.messages.slice(conversation.firstSent)) {
    const last = body.messages.at(-1);
    // Where a reply failed, two questions follow each other; many chat templates insist on turns.
    if (content && last?.role === role) last.content += `\n\n${content}`;
    else if (content) body.messages.push({ role, content });
  }
  if (settings.system) body.messages.unshift({ role: "system", content: settings.system });
  return body;
}

/** Gathers a stream's chunks into `reply`, calling `onPiece` with each piece of text. */
export async function readReply(reply, chunks, onPiece) {
  const started = performance.now();
  let first = 0;
  let numPieces = 0;
  for await (const chunk of chunks) {
    const choice = chunk.choices?.[0];
    const piece = choice?.delta?.content ?? "";
    if (chunk.model) reply.model = chunk.model;
    if (choice?.finish_reason) reply.finishReason = choice.finish_reason;
    if (chunk.usage) reply.usage = chunk.usage;
    if (chunk.timings) reply.timings = chunk.timings;
    if (!piece) continue;
    const now = performance.now();
    numPieces += 1;
    if (numPieces === 1) {
      first = now;
      reply.firstTokenMs = now - started;
    }
    // The server gives exact figures at the end; until then each piece counts as one token.
    if (numPieces > 4) reply.tokensPerSecond = (1000 * (numPieces - 1)) / (now - first);
    reply.content += piece;
    onPiece(piece);
  }
}

const TITLES = {
  network: "The connection to the server was lost",
  cut: "The reply was cut off",
  key: "The server asks for an API key",
  busy: "The server is busy",
  context: "This conversation is too long for the model",
  request: "The server cannot do that",
  server: "Something went wrong on the server",
};
const LOST = "Check that Brisk is still running and that you are online, then try again.";

/** A failure as a title, the server's own words, and the time before which a retry would be rude. */
export function describe(error) {
  const kind = error.kind in TITLES ? error.kind : "server";
  const problem = { kind, title: TITLES[kind], detail: kind === "network" ? LOST : sentence(error.message) };
  // A wait longer than ten minutes is not worth a closed button.
  if (error.retryAfterS > 0) problem.notBefore = Date.now() + 1000 * Math.min(error.retryAfterS, 600);
  return problem;
}

function sentence(words) {
  const trimmed = String(words ?? "no reason was given").trim();
  return trimmed.charAt(0).toUpperCase() + trimmed.slice(1) + (/[.!?]$/.test(trimmed) ? "" : ".");
}
