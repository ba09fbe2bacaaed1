// What a model or a user wrote stays words, whoever renders it.

import assert from "node:assert/strict";
import { until } from "../server.mjs";
import { check, conversation, send, whole } from "./driver.mjs";

const HOSTILE = [
  "<script>window.hacked = 1</script>", "<img src=x onerror=\"window.hacked = 1\">", "<svg onload=\"window.hacked = 1\">",
  "[link](javascript:window.hacked=1)", "[data](data:text/html,<script>window.hacked=1</script>)", "![pixel](http://127.0.0.1:9/pixel.png)",
  "<iframe srcdoc=\"<script>parent.hacked=1</script>\"></iframe>", "<style>body{display:none}</style>", "<form action=\"http://127.0.0.1:9\"><button>x</button></form>",
  "<a href=\"http://example.org\" onclick=\"window.hacked=1\">x</a>", "<meta http-equiv=\"refresh\" content=\"0;url=http://127.0.0.1:9\">",
].join("\n\n");
// What may never stand inside a message, whoever wrote it.
const FORBIDDEN = "script, img, svg[onload], iframe, object, embed, form:not(.edit), style, meta, link, base, [onerror], [onclick], [style], a[href^='javascript' i], a[href^='data' i]";

export async function safetyCases({ server }) {
  const isInert = async (page) => {
    await until(() => page.locator(".message.reply .body:not(.plain)").count(), "the Markdown is shown");
    assert.equal(await page.evaluate(() => globalThis.hacked), undefined);
    const inMessages = FORBIDDEN.split(", ").map((selector) => `.message .body ${selector}`).join(", ");
    assert.deepEqual(await page.locator(inMessages).evaluateAll((nodes) => nodes.map((node) => node.outerHTML)), []);
    assert.ok(await page.locator("#composer").isVisible());
    assert.equal(page.url(), `${server.url}/`);
  };

  await check("Markdown is shown", async (page) => {
    const body = page.locator(".reply .body:not(.plain)");
    await body.waitFor();
    assert.deepEqual(await body.locator("strong, em, h3, li, pre, td, a").evaluateAll((nodes) => nodes.map((node) => `${node.localName} ${node.textContent.trim()}`)),
      ["h3 Head", "strong bold", "em italic", "li one", "li two", "pre let x = 1;", "td b", "a link"]);
    assert.equal(await body.locator("pre").getAttribute("data-language"), "rust");
  }, { stored: [conversation("a", [{ role: "user", content: "hi" },
    { role: "assistant", state: "done", content: "## Head\n\n**bold** *italic*\n\n1. one\n2. two\n\n```rust\nlet x = 1;\n```\n\n| a |\n| - |\n| b |\n\n[link](https://example.org)" }])] });

  const hostile = [conversation("a", [{ role: "user", content: HOSTILE }, { role: "assistant", state: "done", content: HOSTILE }])];
  await check("hostile Markdown is inert", isInert, { stored: hostile });

  await check("hostile HTML is inert even if the server should ever let it through", async (page) => {
    await page.route("**/api/markdown", (route) => route.fulfill({ json: { html: HOSTILE } }));
    await page.reload();
    await isInert(page);
    // The browser itself reports that it refuses the style and the event handlers in there.
  }, { stored: hostile, expected: /Applying inline style|Executing inline event handler/ });

  await check("a hostile message from the user is shown as it was written", async (page) => {
    await send(page, HOSTILE);
    await whole(page);
    assert.equal(await page.locator(".user .body").textContent(), HOSTILE);
    assert.equal(await page.locator(".user .body *").count(), 0);
    assert.equal(await page.evaluate(() => globalThis.hacked), undefined);
  });

  await check("a hostile name in the list of conversations is only a name", async (page) => {
    await send(page, "<img src=x onerror='window.hacked = 1'>");
    await whole(page);
    assert.equal(await page.locator("#conversation-list img").count(), 0);
    assert.equal(await page.evaluate(() => globalThis.hacked), undefined);
  });

  await check("what does not read as a conversation is left alone", async (page) => {
    assert.equal(await page.locator("#conversation-list li").count(), 0);
    await send(page, "What is Brisk?");
    await whole(page);
  }, { stored: [{ id: "a", messages: "none" }, { id: "b" }, conversation("c", [{ role: "system", content: 7 }, null])] });
}
