// Opens the page in Chromium as a fresh visitor and counts what holds.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { chromium } from "playwright-core";

const axeSource = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync"],
});

export const tally = { numPassed: 0, numFailed: 0 };
const setup = { url: "", shots: "" };

/** Where the cases find the page, and where screenshots go. */
export function configure({ url, shots }) {
  Object.assign(setup, { url, shots });
}

export async function close() {
  await browser.close();
}

/** One case: a fresh browser profile on the page; any script error or CSP violation fails it. */
export async function check(name, act, { url = setup.url, settings = { seed: 1, max_tokens: 60 }, stored = [], expected = null, ...profile } = {}) {
  const context = await browser.newContext({ viewport: { width: 1200, height: 800 }, acceptDownloads: true, ...profile });
  context.setDefaultTimeout(15_000);
  const page = await context.newPage();
  const complaints = [];
  page.on("pageerror", (error) => complaints.push(error.message));
  page.on("console", (message) => {
    if (/Content Security Policy/i.test(message.text()) && !expected?.test(message.text())) complaints.push(message.text());
  });
  page.on("dialog", async (dialog) => {
    complaints.push(`a dialog appeared: ${dialog.message()}`);
    await dialog.dismiss();
  });
  try {
    await page.addInitScript(([chosen, conversations]) => {
      if (localStorage.getItem("brisk.settings") === null) {
        localStorage.setItem("brisk.settings", JSON.stringify(chosen));
        for (const conversation of conversations) localStorage.setItem(`brisk.conversation.${conversation.id}`, JSON.stringify(conversation));
      }
    }, [settings, stored]);
    await page.goto(url);
    await act(page, context);
    assert.deepEqual(complaints, []);
    tally.numPassed += 1;
  } catch (error) {
    tally.numFailed += 1;
    const shot = join(setup.shots, `${name.replace(/\W+/g, "-")}.png`);
    await page.screenshot({ path: shot }).catch(() => {});
    console.log(`FAILED ${name}: ${error.message}\n  see ${shot}`);
  } finally {
    await context.close();
  }
}

export const replies = (page) => page.locator(".message.reply");
export const lastReply = (page) => replies(page).last();

/** Types a message and sends it. */
export async function send(page, text) {
  await page.fill("#prompt", text);
  await page.keyboard.press("Enter");
}

/** Waits until the last reply is whole and shown as Markdown. */
export async function whole(page, count = 1) {
  await page.waitForFunction((wanted) => {
    const items = [...document.querySelectorAll(".message.reply")];
    return items.length === wanted && items.at(-1).dataset.state === "done" && items.at(-1).querySelector(".body:not(.plain)");
  }, count);
  return lastReply(page).locator(".body").innerText();
}

/** Makes replies arrive slowly and endlessly, so that there is time to act on them. */
export async function slowReplies(page, context) {
  await page.route("**/v1/chat/completions", (route) =>
    route.continue({ postData: JSON.stringify({ ...route.request().postDataJSON(), ignore_eos: true, max_tokens: 400 }) }));
  const network = await context.newCDPSession(page);
  await network.send("Network.enable");
  const limit = (downloadThroughput) => network.send("Network.emulateNetworkConditions", { offline: false, latency: 0, downloadThroughput, uploadThroughput: -1 });
  await limit(3000);
  return async () => {
    await page.unroute("**/v1/chat/completions");
    await limit(-1);
  };
}

/** Nothing that axe finds wrong, once the animations are over. */
export async function accessible(page) {
  await page.evaluate(() => Promise.all(document.getAnimations().map((animation) => (animation.effect.getComputedTiming().iterations === Infinity ? null : animation.finished.catch(() => {})))));
  // Evaluated through the debugger, which the page's own policy does not bind.
  await page.evaluate(axeSource);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] }));
  assert.deepEqual(violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" ; ").slice(0, 300)}`), []);
}

/** Pixels by which the page is wider than the window. */
export const numOverflowing = (page) => page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);

/** A conversation as the page stores it. */
export const conversation = (id, messages) => ({ id, title: "", renamed: false, createdAt: 1, updatedAt: 1, messages });
