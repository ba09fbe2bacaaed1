// Drives the real page in Chromium against the real binary: node page.mjs --binary target/release/brisk [--shots FOLDER]

import assert from "node:assert/strict";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { chatCases } from "./page/chat.mjs";
import { close, configure, tally } from "./page/driver.mjs";
import { looksCases } from "./page/looks.mjs";
import { safetyCases } from "./page/safety.mjs";
import { startServer } from "./server.mjs";

const { values } = parseArgs({ options: { binary: { type: "string" }, shots: { type: "string" } } });
assert(values.binary, "say which program to test: --binary PATH");
const shots = values.shots ?? mkdtempSync(join(tmpdir(), "brisk-page-"));

const server = await startServer(values.binary);
configure({ url: server.url, shots });
await chatCases({ server });
await safetyCases({ server });
await looksCases({ binary: values.binary, shots });
await close();

const status = await server.stop();
if (status !== 0) {
  tally.numFailed += 1;
  console.log(`FAILED the server ends with status 0 when it is told to stop: it ended with ${status}`);
}
console.log(`${tally.numPassed} passed, ${tally.numFailed} failed`);
process.exitCode = tally.numFailed > 0 ? 1 : 0;
