// How the page looks, to eyes and to screen readers, wide and narrow, light and dark, and when things fail.

import assert from "node:assert/strict";
import { join } from "node:path";
import { startServer } from "../server.mjs";
import { accessible, check, conversation, lastReply, numOverflowing, send, whole } from "./driver.mjs";

const background = (page) => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
const LIGHT = "rgb(246, 245, 240)";
const DARK = "rgb(18, 21, 19)";
const PHONE = { viewport: { width: 360, height: 720 }, hasTouch: true, isMobile: true };
const WIDE_WORDS = `${"unbroken".repeat(40)}\n\n\`\`\`\n${"code ".repeat(80)}\n\`\`\`\n\n| ${"column | ".repeat(20)}\n| ${"- | ".repeat(20)}\n`;
const TALK = [conversation("a", [{ role: "user", content: "w".repeat(300) }, { role: "assistant", state: "done", content: WIDE_WORDS }])];

export async function looksCases({ binary, shots }) {
  await check("the theme follows the system until it is chosen", async (page) => {
    assert.equal(await background(page), LIGHT);
    await page.click("#theme");
    assert.equal(await background(page), DARK);
    await page.reload();
    assert.equal(await background(page), DARK);
    await page.click("#theme");
    assert.equal(await background(page), LIGHT);
    await page.emulateMedia({ colorScheme: "dark" });
    assert.equal(await background(page), DARK);
  }, { colorScheme: "light" });

  await check("a phone shows everything without scrolling sideways", async (page) => {
    await page.locator(".reply .body:not(.plain)").waitFor();
    assert.equal(await numOverflowing(page), 0);
    assert.equal(await page.locator("#sidebar").isVisible(), false);
    await page.click("#open-sidebar");
    await page.locator("#conversation-list .open").waitFor();
    assert.equal(await page.evaluate(() => document.activeElement.id), "close-sidebar");
    await page.keyboard.press("Escape");
    assert.equal(await page.evaluate(() => document.activeElement.id), "open-sidebar");
    await page.click("#open-settings");
    assert.equal(await numOverflowing(page), 0);
    await page.getByRole("button", { name: "Done" }).click();
    await page.fill("#prompt", "What is Brisk?");
    await page.click("#send");
    await whole(page, 2);
    await page.screenshot({ path: join(shots, "phone.png") });
  }, { ...PHONE, stored: TALK });

  for (const [colorScheme, view] of [["light", {}], ["dark", {}], ["light", PHONE], ["dark", PHONE]]) {
    const where = `${colorScheme}, ${view.viewport?.width ?? 1200} pixels`;
    await check(`nothing stands in the way of a screen reader (${where})`, async (page) => {
      await page.locator("#model-chip[data-state='on']").waitFor();
      await accessible(page);
      await send(page, "What is Brisk?");
      if (view.isMobile) await page.click("#send");
      await whole(page);
      await page.locator(".reply .body:not(.plain)").waitFor();
      await page.click(".figures summary");
      await accessible(page);
      await page.screenshot({ path: join(shots, `talk-${colorScheme}-${view.viewport?.width ?? 1200}.png`) });
      await page.click("#open-settings");
      await accessible(page);
    }, { colorScheme, ...view });
  }

  await check("everything can be done from the keyboard", async (page) => {
    await page.locator("#model-chip[data-state='on']").waitFor();
    await page.keyboard.press("Tab");
    assert.equal(await page.evaluate(() => document.activeElement.className), "skip-link");
    await page.keyboard.press("Enter");
    assert.equal(await page.evaluate(() => document.activeElement.id), "prompt");
    await page.keyboard.type("What is Brisk?");
    await page.keyboard.press("Enter");
    await whole(page);
    await page.keyboard.press("Shift+Tab");
    assert.notEqual(await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle), "none");
  });

  await check("still means still", async (page) => {
    await send(page, "What is Brisk?");
    await whole(page);
    assert.equal(await page.evaluate(() => document.getAnimations().length), 0);
  }, { reducedMotion: "reduce" });

  await check("a prompt that is too long is explained, with both numbers and a way out", async (page) => {
    await send(page, "What is Brisk?");
    await whole(page);
    await page.fill("#prompt", "word ".repeat(30_000));
    await page.click("#send");
    const problem = page.locator(".problem");
    await problem.waitFor();
    assert.match(await problem.innerText(), /too long[^]*\d{3,}[^]*\d{3,}/);
    await problem.getByRole("button", { name: "Try again without the oldest messages" }).waitFor();
    await accessible(page);
  });

  await check("a refused setting names itself", async (page) => {
    await send(page, "What is Brisk?");
    await page.locator(".problem").waitFor();
    assert.match(await page.locator(".problem").innerText(), /top_p[^]*Open the settings/);
  }, { settings: { top_p: 7 } });

  await check("a busy server is waited for", async (page) => {
    await page.route("**/v1/chat/completions", (route) => route.fulfill({
      status: 503, headers: { "retry-after": "1" }, json: { error: { message: "the queue is full", type: "server_error", param: null, code: "overloaded" } },
    }), { times: 1 });
    await send(page, "What is Brisk?");
    const retry = page.locator(".problem button").first();
    await retry.waitFor();
    assert.equal(await retry.isDisabled(), true);
    assert.match(await retry.innerText(), /Try again in 1 s/);
    const [again] = await Promise.all([page.waitForRequest("**/v1/chat/completions"), retry.click()]); // Waits until the button opens.
    assert.deepEqual(again.postDataJSON().messages, [{ role: "user", content: "What is Brisk?" }]);
    assert.ok((await whole(page)).length > 0);
  });

  await check("no room in the browser drops the oldest and says so", async (page) => {
    await send(page, "What is Brisk?");
    await whole(page, 2);
    assert.match(await page.locator("#notices").innerText(), /the oldest of your conversations went: “old”/);
    assert.deepEqual(await page.locator("#conversation-list .open").allInnerTexts(), ["new"]);
  }, { stored: [["old", 2_499_000], ["new", 10]].map(([id, length], index) =>
    ({ ...conversation(id, [{ role: "user", content: id }, { role: "assistant", state: "done", content: "x".repeat(length) }]), updatedAt: index + 1 })) });

  const locked = await startServer(binary, ["--api-key", "correct-horse"]);
  await check("a key is asked for only when the server wants one, and never stored for good", async (page) => {
    await page.locator("#key-dialog[open]").waitFor();
    await accessible(page);
    await page.fill("#key-input", "wrong");
    await page.getByRole("button", { name: "Use this key" }).click();
    await page.getByText("does not know the key").waitFor();
    await page.fill("#key-input", "correct-horse");
    await page.getByRole("button", { name: "Use this key" }).click();
    await page.locator("#model-chip[data-state='on']").waitFor();
    await send(page, "What is Brisk?");
    assert.ok((await whole(page)).length > 0);
    await page.locator(".reply .body:not(.plain)").waitFor();
    assert.equal(await page.evaluate(() => JSON.stringify(localStorage).includes("correct-horse")), false);
  }, { url: locked.url });
  await locked.stop();

  const dying = await startServer(binary);
  await check("a lost connection is said in words and can be retried", async (page) => {
    await send(page, "What is Brisk?");
    const text = await whole(page);
    await dying.kill();
    await send(page, "Still there?");
    await page.locator(".problem").waitFor();
    assert.match(await page.locator(".problem").innerText(), /connection to the server was lost[^]*Try again/);
    assert.equal(await page.locator(".reply").first().locator(".body").innerText(), text);
    assert.equal(await lastReply(page).getAttribute("data-state"), "error");
  }, { url: dying.url });
}
