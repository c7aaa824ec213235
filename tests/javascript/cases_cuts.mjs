// The connection breaks every few hundred KiB: the client resumes by offset and nothing is lost.

import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { run } from "./standins.mjs";

const SIZE = 8 << 20;

export async function readsResume(context) {
  const sandbox = await context.sandbox();
  const script = `yes 0123456 | head -c ${SIZE}`;
  const process = await sandbox.exec(["sh", "-c", script], { mode: "binary" });
  assert.ok(Buffer.alloc(SIZE, "0123456\n").equals(await process.stdout.readBytes()));
  assert.equal(await process.wait(), 0);
}

export async function writesAreRetried(context) {
  const sandbox = await context.sandbox();
  const data = randomBytes(4 << 20);
  const process = await sandbox.exec(["sha256sum"]);
  const writer = process.stdin.getWriter();
  for (let at = 0; at < data.length; at += 100_000) {
    await writer.write(data.subarray(at, at + 100_000));
  }
  await writer.close();
  const digest = createHash("sha256").update(data).digest("hex");
  assert.equal((await process.stdout.readText()).split(" ")[0], digest);
}

export async function filesAreWrittenAndRead(context) {
  const sandbox = await context.sandbox();
  const path = (await run(sandbox, "mktemp")).trim();
  // The client gives up after nine resumes, which bounds what can pass through this proxy.
  const data = randomBytes(3 << 20);
  await sandbox.filesystem.writeBytes(data, path);
  assert.ok(data.equals(await sandbox.filesystem.readBytes(path)));
  await sandbox.filesystem.remove(path);
}
