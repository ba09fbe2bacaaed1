// Talking: sending, streaming, stopping, editing, keeping.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { gauge, until } from "../server.mjs";
import { check, lastReply, replies, send, slowReplies, whole } from "./driver.mjs";

export async function chatCases({ server }) {
  await check("the empty page says what the model is and offers questions", async (page) => {
    await page.locator("#model-chip[data-state='on']").waitFor();
    assert.match(await page.locator("#empty-text").innerText(), /demonstration model that only knows about Brisk/);
    const suggestions = page.locator("#suggestions button");
    assert.ok(await suggestions.count() >= 3);
    assert.equal(await page.title(), "Brisk");
    const question = await suggestions.first().innerText();
    await suggestions.first().click();
    assert.ok((await whole(page)).length > 0);
    assert.equal(await page.locator(".message.user .body").innerText(), question);
  });

  await check("a reply streams and ends with its figures", async (page) => {
    // Asked nowhere else, so that it is generated.
    await send(page, "What is Brisk good for?");
    assert.ok((await whole(page)).trim().length > 0);
    assert.equal(await page.evaluate(() => document.activeElement.id), "prompt");
    assert.match(await page.locator(".figures summary").innerText(), /to first token · [\d.,]+ tokens\/s · \d+ tokens?/);
    await page.click(".figures summary");
    assert.match(await page.locator(".phases").innerText(), /Writing/);
    assert.equal(await page.locator("#announcer").innerText().then((words) => words.startsWith("Reply: ")), true);
  });

  await check("a kept reply says that it is one", async (page) => {
    await send(page, "What is Brisk?");
    const first = await whole(page);
    await page.click("#new-chat");
    await send(page, "What is Brisk?");
    assert.equal(await whole(page), first);
    assert.match(await page.locator(".figures summary").innerText(), /^a kept reply · /);
    await page.click(".figures summary");
    assert.match(await page.locator(".phases").innerText(), /Looking for a kept reply/);
  });

  await check("a line break is Shift Enter and Enter sends", async (page) => {
    await page.locator("#prompt").pressSequentially("one");
    await page.keyboard.press("Shift+Enter");
    await page.locator("#prompt").pressSequentially("two");
    await page.keyboard.press("Enter");
    await whole(page);
    assert.equal(await page.locator(".message.user .body").innerText(), "one\ntwo");
  });

  await check("stop ends a reply at once, keeps its beginning, and frees the server", async (page, context) => {
    await slowReplies(page, context);
    await send(page, "What is Brisk?");
    await page.locator(".figures.live", { hasText: /to first token/ }).waitFor();
    await page.click("#stop");
    await page.locator(".reply[data-state='stopped']").waitFor();
    assert.match(await page.locator(".reply .figures").innerText(), /^stopped/);
    assert.ok(await page.locator("#send").isVisible());
    await until(async () => (await gauge(server.url, "num_requests_running")) === 0, "nothing runs on the server");
  });

  await check("a conversation survives a reload, even in the middle of a reply", async (page, context) => {
    await send(page, "What is Brisk?");
    const text = await whole(page);
    const asFastAsBefore = await slowReplies(page, context);
    await send(page, "And why is it fast?");
    await page.locator(".figures.live", { hasText: /to first token/ }).waitFor();
    await page.reload({ waitUntil: "commit" });
    await asFastAsBefore();
    await page.locator(".message").nth(3).waitFor();
    assert.equal(await replies(page).count(), 2);
    await replies(page).first().locator(".body:not(.plain)").waitFor();
    assert.equal(await replies(page).first().locator(".body").innerText(), text);
    assert.equal(await lastReply(page).getAttribute("data-state"), "stopped");
  });

  await check("writing a reply again with the same seed gives the same reply", async (page) => {
    await send(page, "What is Brisk?");
    const first = await whole(page);
    await lastReply(page).getByRole("button", { name: "Write the reply again" }).click();
    assert.equal(await whole(page), first);
    assert.equal(await page.locator(".message").count(), 2);
  });

  await check("an edited message is sent again and what followed goes", async (page) => {
    await send(page, "What is Brisk?");
    await whole(page);
    await send(page, "Is it free?");
    await whole(page, 2);
    await page.locator(".user").first().hover();
    await page.locator(".user").first().getByRole("button", { name: "Edit and send again" }).click();
    await page.locator(".edit textarea").fill("Which licence does Brisk have?");
    await page.getByRole("button", { name: "Send again", exact: true }).click();
    await whole(page, 1);
    assert.deepEqual(await page.locator(".user .body").allInnerTexts(), ["Which licence does Brisk have?"]);
  });

  await check("conversations are listed, renamed, switched, deleted and brought back", async (page) => {
    await send(page, "What is Brisk?");
    await whole(page);
    await page.click("#new-chat");
    await send(page, "Is it free?");
    await whole(page);
    const list = page.locator("#conversation-list .open");
    assert.deepEqual(await list.allInnerTexts(), ["Is it free?", "What is Brisk?"]);
    await list.nth(1).click();
    assert.equal(await page.locator("#title").innerText(), "What is Brisk?");
    await page.locator("#conversation-list li").nth(1).hover();
    await page.getByRole("button", { name: "Rename “What is Brisk?”" }).click();
    await page.keyboard.type("About Brisk");
    await page.keyboard.press("Enter");
    assert.equal(await page.locator("#title").innerText(), "About Brisk");
    await page.locator("#conversation-list li").nth(1).hover();
    await page.getByRole("button", { name: "Delete “About Brisk”" }).click();
    assert.deepEqual(await list.allInnerTexts(), ["Is it free?"]);
    await page.getByRole("button", { name: "Undo" }).click();
    assert.equal(await list.count(), 2);
    await page.reload();
    assert.deepEqual((await list.allInnerTexts()).sort(), ["About Brisk", "Is it free?"]);
  });

  await check("a conversation is exported as Markdown and as JSON", async (page) => {
    await send(page, "What is Brisk?");
    await whole(page);
    for (const [label, pattern] of [["Download as Markdown", /^# What is Brisk\?\n\n## You\n\nWhat is Brisk\?\n\n## /], ["Download as JSON", /"role": "assistant"/]]) {
      await page.click("#export");
      const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: label }).click()]);
      assert.match(readFileSync(await download.path(), "utf8"), pattern);
    }
  });

  await check("settings go with the request and stay", async (page) => {
    await page.click("#open-settings");
    await page.getByLabel("System prompt").fill("Answer in one word.");
    await page.getByLabel("Temperature").fill("0.5");
    await page.getByLabel("Top k").fill("7");
    await page.keyboard.press("Tab");
    await page.keyboard.press("Escape");
    const [request] = await Promise.all([page.waitForRequest("**/v1/chat/completions"), send(page, "What is Brisk?")]);
    const body = request.postDataJSON();
    assert.deepEqual([body.temperature, body.top_k, body.seed, body.messages[0]], [0.5, 7, 1, { role: "system", content: "Answer in one word." }]);
    await whole(page);
    await page.reload();
    await page.click("#open-settings");
    assert.equal(await page.getByLabel("Temperature").inputValue(), "0.5");
  });
}
