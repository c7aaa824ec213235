// The sandbox's own streams: the container's main command, read and written over the newer calls.

import assert from "node:assert/strict";
import { feed } from "./standins.mjs";

export async function readyWriteAndRead(context) {
  const sandbox = await context.sandbox();
  await sandbox.waitUntilReady(20_000);
  await feed(sandbox, "one\ntwo\n");
  assert.equal(await sandbox.stdout.readText(), "begin\none\ntwo\nend\n");
  assert.equal(await sandbox.stderr.readText(), "words\n");
}
