// Tokens that expire while the client works: it refreshes them and goes on.

import assert from "node:assert/strict";
import { setTimeout as pause } from "node:timers/promises";
import { feed, refuses } from "./standins.mjs";

const PERMISSION_DENIED = 7;
const UNAUTHENTICATED = 16;

export async function aUnaryCallRefreshes(context) {
  const sandbox = await context.sandbox(context.token(-300), context.token());
  const process = await sandbox.exec(["echo", "hi"]);
  assert.equal(sandbox.control.fetched, 2);
  assert.equal(await process.stdout.readText(), "hi\n");
  assert.equal(await process.wait(), 0);
}

export async function streamsRefresh(context) {
  // The client does not ask whether its token is still good: it goes by what the agent answers.
  // For 30 s after its end the agent still takes it: a second or two are left.
  const short = context.token(-28);
  const sandbox = await context.sandbox(short, context.token());
  const process = await sandbox.exec(["cat"]);
  const other = await sandbox.exec(["cat"]);
  assert.equal(sandbox.control.fetched, 1);
  await refused(context, short);
  const read = process.stdout.readText();
  await feed(process, "words");
  assert.equal(await read, "words");
  const source = { readFrom: async function* (from) { yield Buffer.from("more words").subarray(from); } };
  assert.equal(await other._stdinWriteStream(source), 10);
  assert.equal(await other.stdout.readText(), "more words");
  assert.equal(sandbox.control.fetched, 2);
}

export async function aTokenThatIsNotRenewedIsAnErrorAndNoLoop(context) {
  const sandbox = await context.sandbox(context.token(-3600));
  await refuses(UNAUTHENTICATED, sandbox.exec(["true"]));
  assert.equal(sandbox.control.fetched, 2);
}

export async function anotherTasksTokenIsDenied(context) {
  const sandbox = await context.sandbox(context.token(600, "ta-other"));
  await refuses(PERMISSION_DENIED, sandbox.exec(["true"]));
}

/** Asks again until the agent takes this token no longer. */
async function refused(context, token) {
  const sandbox = await context.sandbox(token);
  const asks = () => sandbox.exec(["true"]).then(() => true, (error) => error.code !== UNAUTHENTICATED);
  while (await asks()) {
    await pause(50);
  }
}
