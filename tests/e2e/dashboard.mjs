// Drives the dashboard in Chromium against the real binary under load: node dashboard.mjs --binary target/release/brisk [--shots FOLDER]

import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { accessible, check, close, configure, numOverflowing, tally } from "./page/driver.mjs";
import { startServer, until } from "./server.mjs";

const { values } = parseArgs({ options: { binary: { type: "string" }, shots: { type: "string" } } });
assert(values.binary, "say which program to test: --binary PATH");
const shots = values.shots ?? mkdtempSync(join(tmpdir(), "brisk-dashboard-"));
mkdirSync(shots, { recursive: true });

const PHONE = { viewport: { width: 375, height: 740 }, isMobile: true, hasTouch: true };
const QUESTIONS = ["What is Brisk?", "What makes Brisk fast?", "Which endpoints are there?", "How do I load my own model?"];

/** Asks again and again, at several places at once, until it is stopped; some questions repeat, some are new. */
function startLoad(url, { key = "", numClients = 3 } = {}) {
  let isOver = false;
  let count = 0;
  const headers = { "content-type": "application/json", ...(key ? { authorization: `Bearer ${key}` } : {}) };
  const ask = async () => {
    while (!isOver) {
      count += 1;
      const content = count % 3 === 0 ? `Question number ${count}: what is Brisk?` : QUESTIONS[count % QUESTIONS.length];
      const body = JSON.stringify({ messages: [{ role: "user", content }], temperature: 0, max_tokens: 40 });
      try {
        await (await fetch(`${url}/v1/chat/completions`, { method: "POST", headers, body })).text();
      } catch {
        // The server is being restarted.
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    }
  };
  const clients = Array.from({ length: numClients }, ask);
  return async () => {
    isOver = true;
    await Promise.all(clients);
  };
}

const isLive = (page) => page.locator("#state[data-state='on']").waitFor();
const tile = (page, id) => page.locator(`#tile-${id} .number`).innerText();
const numRequests = async (page) => Number((await tile(page, "requests")).replace(/\D/g, "")) || 0;
const legends = (page) => page.locator(".chart .legend .value").allInnerTexts();
/** Corners of the longest line of each graph. */
const numCorners = (page) => page.locator(".chart").evaluateAll((charts) =>
  charts.map((chart) => Math.max(...[...chart.querySelectorAll(".plot path.line")].map((path) => (path.getAttribute("d") ?? "").split(/[ML]/).length - 1))));

const server = await startServer(values.binary);
const url = `${server.url}/dashboard`;
configure({ url, shots });

await check("before the first request it says that there was none", async (page) => {
  await isLive(page);
  await page.getByText("No request yet").waitFor();
  assert.equal(await tile(page, "requests"), "0");
  assert.equal(await tile(page, "p50"), "–");
  await accessible(page);
  await page.getByRole("link", { name: "Ask something" }).click();
  await page.waitForURL(`${server.url}/`);
  await page.getByRole("link", { name: "Live figures" }).click();
  await page.waitForURL(url);
});

const stopLoad = startLoad(server.url);

await check("numbers move and graphs grow while requests run", async (page) => {
  const errors = [];
  page.on("console", (message) => { if (message.type() === "error") errors.push(message.text()); });
  await isLive(page);
  await until(async () => (await numRequests(page)) > 0, "requests are counted");
  const first = await numRequests(page);
  await until(async () => (await numRequests(page)) > first, "the count rises");
  await until(async () => Number.parseFloat(await tile(page, "tokens")) > 0, "tokens are generated");
  assert.match(await tile(page, "p50"), /^[\d.]+ (µs|ms|s)$/);
  assert.match(await tile(page, "hit-rate"), /^[\d.]+ %$/);
  await page.check("input[value='120']");
  await until(async () => (await numCorners(page)).every((count) => count >= 4), "every graph has points");
  const performance = await (await fetch(`${server.url}/api/performance`)).json();
  assert.ok(performance.total_queries >= first && performance.tokens.completion > 0);
  assert.equal(performance.response_times.all.count, performance.total_queries);
  assert.equal(await page.locator("#quiet").isVisible(), false);
  assert.deepEqual(errors, []);
});

await check("a page that opens later has the past at once", async (page) => {
  // Two samples and more in the first thing that is drawn: they are a second apart, this is not.
  await isLive(page);
  await page.click("#pause");
  await page.check("input[value='120']");
  assert.ok(Math.max(...await numCorners(page)) >= 4, `${await numCorners(page)}`);
});

await check("the table says what the graphs say, at every moment, to the pointer and to the keyboard", async (page) => {
  await isLive(page);
  await page.check("input[value='120']");
  await until(async () => (await numCorners(page)).every((count) => count >= 4), "every graph has points");
  await page.click("#pause");
  assert.equal(await page.locator("#state-text").innerText(), "paused");
  await page.click("#table-box summary");
  // The table is filled once the browser has told that its box is open.
  await page.locator("#table tbody tr").first().waitFor();
  const rows = (await page.locator("#table tbody tr").evaluateAll((items) =>
    items.map((row) => [...row.children].map((cell) => cell.textContent))));
  const numHeads = await page.locator("#table thead th[scope='col']").count();
  assert.ok(rows.length >= 4 && rows.every((row) => row.length === numHeads), `${rows.length} rows, ${numHeads} columns`);
  assert.deepEqual(await legends(page), rows[0].slice(1));
  const cursor = page.getByLabel("Moment in the graph: Response time");
  await cursor.focus();
  for (const row of rows.slice(1, 4)) {
    await page.keyboard.press("ArrowLeft");
    assert.deepEqual(await legends(page), row.slice(1));
    assert.equal(await page.locator(".chart .moment").first().innerText(), row[0]);
    const words = await cursor.getAttribute("aria-valuetext");
    assert.ok(words.startsWith(row[0]) && words.includes(`50 % ${row[6]}`), `${words} for ${row}`);
  }
  await cursor.blur();
  assert.deepEqual(await legends(page), rows[0].slice(1));
  const box = await page.locator(".plot").first().boundingBox();
  await page.locator(".plot").first().hover({ position: { x: box.width - 0.5, y: 20 } });
  assert.equal(await page.locator(".chart .moment").first().innerText(), rows[0][0]);
});

await check("each graph has a name and a description in words", async (page) => {
  await isLive(page);
  const names = await page.locator("svg[role='img']").evaluateAll((graphs) => graphs.map((graph) =>
    graph.getAttribute("aria-labelledby").split(" ").map((id) => document.getElementById(id).textContent)));
  assert.equal(names.length, 6);
  for (const [title, words] of names) assert.match(words, /Over the last 5 minutes\. .+(from .+ to .+, now|no value yet)/, title);
});

await check("paused means paused", async (page) => {
  await isLive(page);
  await until(async () => (await numRequests(page)) > 0, "requests are counted");
  await page.click("#pause");
  const before = await page.locator("main").innerText();
  const totals = async () => (await (await fetch(`${server.url}/api/performance`)).json()).total_queries;
  const then = await totals();
  await until(async () => (await totals()) > then + 2, "requests go on");
  assert.equal(await page.locator("main").innerText(), before);
  const shown = await numRequests(page);
  await page.click("#pause");
  await until(async () => (await numRequests(page)) > shown, "the numbers go on");
});

for (const [colorScheme, view] of [["light", {}], ["dark", {}], ["light", PHONE], ["dark", PHONE]]) {
  const width = view.viewport?.width ?? 1200;
  await check(`it is readable and accessible (${colorScheme}, ${width} pixels)`, async (page) => {
    await isLive(page);
    await page.check("input[value='120']");
    await until(async () => (await numCorners(page)).every((count) => count >= 4), "every graph has points");
    assert.equal(await numOverflowing(page), 0);
    await accessible(page);
    await page.screenshot({ path: join(shots, `dashboard-${colorScheme}-${width}.png`), fullPage: true });
    await page.click("#table-box summary");
    assert.equal(await numOverflowing(page), 0);
    await accessible(page);
  }, { colorScheme, ...view });
}
await stopLoad();

const locked = await startServer(values.binary, ["--api-key", "correct-horse"]);
await check("it asks for a key when the server wants one", async (page) => {
  await page.locator("#key-dialog[open]").waitFor();
  await accessible(page);
  await page.fill("#key-input", "wrong");
  await page.getByRole("button", { name: "Use this key" }).click();
  await page.getByText("does not know the key").waitFor();
  await page.fill("#key-input", "correct-horse");
  await page.getByRole("button", { name: "Use this key" }).click();
  await isLive(page);
  const stop = startLoad(locked.url, { key: "correct-horse", numClients: 1 });
  await until(async () => (await numRequests(page)) > 0, "requests are counted");
  await stop();
  assert.equal(await page.evaluate(() => JSON.stringify(localStorage).includes("correct-horse")), false);
}, { url: `${locked.url}/dashboard` });
await locked.stop();

let restarted = await startServer(values.binary);
await check("it comes back when the server does", async (page) => {
  await isLive(page);
  const stop = startLoad(restarted.url, { numClients: 1 });
  await until(async () => (await numRequests(page)) > 0, "requests are counted");
  const { port } = new URL(restarted.url);
  const status = await restarted.stop();
  assert.equal(status, 0, "a page that watches does not hold up a server that stops");
  await page.getByText("not connected").waitFor();
  restarted = await startServer(values.binary, [], port);
  await isLive(page);
  await until(async () => (await numRequests(page)) > 0, "requests are counted again", 20_000);
  await stop();
}, { url: `${restarted.url}/dashboard` });
await restarted.stop();

await close();
const status = await server.stop();
if (status !== 0) {
  tally.numFailed += 1;
  console.log(`FAILED the server ends with status 0 when it is told to stop: it ended with ${status}`);
}
console.log(`${tally.numPassed} passed, ${tally.numFailed} failed`);
process.exitCode = tally.numFailed > 0 ? 1 : 0;
