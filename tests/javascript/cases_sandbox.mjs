// `Sandbox.exec` and what it returns: start, read, write, wait, timeouts, PTY.

import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { feed, refuses } from "./standins.mjs";

const FAILED_PRECONDITION = 9;

const sha256 = (data) => createHash("sha256").update(data).digest("hex");

export async function runReadWait(context) {
  const sandbox = await context.sandbox();
  const process = await sandbox.exec(["sh", "-c", "echo out; echo err >&2; exit 3"]);
  assert.equal(await process.stdout.readText(), "out\n");
  assert.equal(await process.stderr.readText(), "err\n");
  assert.equal(await process.wait(), 3);
  assert.equal(await process.wait(), 3);
}

export async function readAfterTheExit(context) {
  const sandbox = await context.sandbox();
  const process = await sandbox.exec(["sh", "-c", "seq 1000; kill -9 $$"]);
  assert.equal(await process.wait(), 137);
  const lines = (await process.stdout.readText()).trimEnd().split("\n");
  assert.deepEqual(lines, Array.from({ length: 1000 }, (_, at) => `${at + 1}`));
}

export async function linesAsTheyCome(context) {
  const sandbox = await context.sandbox();
  const process = await sandbox.exec(["sh", "-c", "while read l; do echo got $l; done"]);
  const [reader, writer] = [process.stdout.getReader(), process.stdin.getWriter()];
  for (const word of ["one", "two", "three"]) {
    await writer.write(`${word}\n`);
    assert.equal((await reader.read()).value, `got ${word}\n`);
  }
  await writer.close();
  assert.equal(await process.wait(), 0);
}

export async function environmentDirectoryAndIgnored(context) {
  const sandbox = await context.sandbox();
  const secrets = [await sandbox.client.secrets.fromObject({ A: "0", C: "3" })];
  const process = await sandbox.exec(["sh", "-c", "echo $A,$B,$C; pwd; echo lost >&2"], {
    secrets,
    env: { A: "1", B: "two words" },
    workdir: "/usr",
    stderr: "ignore",
  });
  assert.equal(await process.stdout.readText(), "1,two words,3\n/usr\n");
  assert.equal(await process.stderr.readText(), "");
  assert.equal(await process.wait(), 0);
}

export async function binaryIsExact(context) {
  const sandbox = await context.sandbox();
  const data = randomBytes(3_000_000);
  const process = await sandbox.exec(["cat"], { mode: "binary" });
  await feed(process, data);
  assert.ok(data.equals(await process.stdout.readBytes()));
  assert.equal(await process.wait(), 0);
}

export async function oneLargeMessage(context) {
  const sandbox = await context.sandbox();
  // The client sends as one message what it is given as one, up to 100 MiB.
  const data = randomBytes(99 << 20);
  const process = await sandbox.exec(["sha256sum"]);
  await feed(process, data);
  assert.equal((await process.stdout.readText()).split(" ")[0], sha256(data));
}

export async function theInputIsClosedAtOffsetZero(context) {
  const sandbox = await context.sandbox();
  const process = await sandbox.exec(["wc", "-c"]);
  await process.stdin.getWriter().write("words\n");
  // Whatever was written, this says offset 0.
  await process.closeStdin();
  assert.equal((await process.stdout.readText()).trim(), "6");
}

export async function inputThatNobodyWants(context) {
  const sandbox = await context.sandbox();
  for (let round = 0; round < 5; round += 1) {
    const process = await sandbox.exec(["sh", "-c", "exec 0<&-; exit 9"]);
    const source = { readFrom: async function* (from) { yield Buffer.alloc(5_000_000 - from); } };
    await refuses(FAILED_PRECONDITION, process._stdinWriteStream(source));
    // The client polls right then, and must find the exit.
    assert.equal(await process._poll(), 9);
  }
}

export async function aTimeoutKills(context) {
  const sandbox = await context.sandbox();
  const begun = performance.now();
  const process = await sandbox.exec(["sh", "-c", "echo hi; sleep 999"], { timeoutMs: 1000 });
  const reader = process.stdout.getReader();
  assert.equal((await reader.read()).value, "hi\n");
  assert.equal(await process.wait(), 137);
  assert.ok(performance.now() - begun < 8000);
}

export async function aTerminal(context) {
  const sandbox = await context.sandbox();
  const script = "test -t 0 && stty size; echo $TERM $COLORTERM; echo err >&2";
  const process = await sandbox.exec(["sh", "-c", script], { pty: true });
  assert.equal(await process.stdout.readText(), "24 80\r\nxterm-256color truecolor\r\nerr\r\n");
  assert.equal(await process.stderr.readText(), "");
  assert.equal(await process.wait(), 0);
}

export async function whatIsTypedOnATerminal(context) {
  const sandbox = await context.sandbox();
  const process = await sandbox.exec(["sh", "-c", "echo ready; cat; echo end"], { pty: true });
  const [reader, writer] = [process.stdout.getReader(), process.stdin.getWriter()];
  assert.equal((await reader.read()).value, "ready\r\n");
  for (const key of ["a", "b", "\r", "\x04"]) {
    await writer.write(key);
  }
  let seen = "";
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    seen += part.value;
  }
  assert.equal(seen, "ab\r\nab\r\nend\r\n");
  assert.equal(await process.wait(), 0);
}

export async function errorsAreNotRetried(context) {
  const sandbox = await context.sandbox();
  const begun = performance.now();
  const missing = "no-such-program-anywhere";
  await refuses(FAILED_PRECONDITION, sandbox.exec([missing]), missing);
  const workdir = "/no/such/place";
  await refuses(FAILED_PRECONDITION, sandbox.exec(["true"], { workdir }), workdir);
  assert.ok(performance.now() - begun < 5000);
}

export async function fiftyAtOnceOnOneConnection(context) {
  const sandbox = await context.sandbox();
  const one = async (n) => {
    const process = await sandbox.exec(["sh", "-c", `read x; echo ${n} $x`]);
    const all = [process.stdout.readText(), process.stderr.readText(), process.wait()];
    await feed(process, `${n * n}\n`);
    assert.deepEqual(await Promise.all(all), [`${n} ${n * n}\n`, "", 0]);
  };
  await Promise.all(Array.from({ length: 50 }, (_, n) => one(n)));
}

export async function readersThatTurnAway(context) {
  const sandbox = await context.sandbox();
  const process = await sandbox.exec(["sh", "-c", "yes & read x; kill $!; exit 5"]);
  const writer = process.stdin.getWriter();
  const others = await Promise.all(Array.from({ length: 100 }, () => sandbox.exec(["cat"])));
  // Each resets its stream, and none of that may cost the connection.
  await Promise.all(others.map((other) => other.stdout.getReader().cancel()));
  const reader = process.stdout.getReader();
  assert.ok((await reader.read()).value.startsWith("y\n"));
  await reader.cancel();
  await writer.write("\n");
  assert.equal(await process.wait(), 5);
  assert.ok(!sandbox.logger.said.some((words) => words.startsWith("Retrying")));
}

export async function muchIsNotLostWhileNobodyReads(context) {
  const sandbox = await context.sandbox();
  const script = "yes 0123456 | head -c 50000000";
  const process = await sandbox.exec(["sh", "-c", script], { mode: "binary" });
  assert.equal(await process.wait(), 0);
  const data = await process.stdout.readBytes();
  assert.ok(Buffer.alloc(50_000_000, "0123456\n").equals(data));
}

export async function anIdleConnectionIsGivenUpAndMadeAgain(context) {
  const sandbox = await context.sandbox();
  sandbox.client.profile.sandboxChannelIdleTimeoutMs = 100;
  const process = await sandbox.exec(["cat"]);
  await sandbox.logger.hears("Releasing the command router connection");
  await feed(process, "words\n");
  await sandbox.logger.hears("Releasing the command router connection");
  assert.equal(await process.stdout.readText(), "words\n");
  assert.equal(await process.wait(), 0);
}
