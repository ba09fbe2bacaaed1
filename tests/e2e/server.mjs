// Starts the real binary on a free port and stops it again.

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const LISTENING = /Brisk is listening on (http:\/\/\S+)/;
const START_LIMIT_MS = 60_000;

/** Runs `brisk serve` with the given flags, on a free port unless one is named; resolves once it says where it listens. */
export function startServer(binary, args = [], port = 0) {
  const folder = mkdtempSync(join(tmpdir(), "brisk-e2e-"));
  // No variable and no file of whoever runs the tests may change what is tested.
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("BRISK_")));
  const child = spawn(binary, ["serve", "--port", String(port), ...args], { cwd: folder, env, stdio: ["ignore", "pipe", "pipe"] });
  let said = "";
  const exited = new Promise((resolve) => child.once("exit", resolve));
  const stop = async () => {
    child.kill("SIGTERM");
    const status = await exited;
    rmSync(folder, { recursive: true, force: true });
    return status;
  };
  return new Promise((resolve, reject) => {
    const limit = setTimeout(() => reject(new Error(`the server did not start:\n${said}`)), START_LIMIT_MS);
    child.once("error", reject);
    exited.then((status) => reject(new Error(`the server ended with ${status}:\n${said}`)));
    const read = (piece) => {
      said += piece;
      const found = LISTENING.exec(said);
      if (!found) return;
      clearTimeout(limit);
      resolve({ url: found[1].replace(/\/$/, ""), stop, kill: () => { child.kill("SIGKILL"); return exited; } });
    };
    child.stdout.on("data", read);
    child.stderr.on("data", read);
  });
}

/** Polls until `condition` holds; there is no other way to see into another process. */
export async function until(condition, what, limitMs = 10_000) {
  const end = Date.now() + limitMs;
  while (!(await condition())) {
    if (Date.now() > end) throw new Error(`waited ${limitMs} ms in vain until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** The value of a gauge whose name ends in `name`. */
export async function gauge(url, name) {
  const text = await (await fetch(`${url}/metrics`)).text();
  const line = text.split("\n").find((entry) => !entry.startsWith("#") && entry.split(/[{ ]/)[0].endsWith(name));
  if (!line) throw new Error(`/metrics has no ${name}`);
  return Number(line.trim().split(" ").at(-1));
}
