// `Sandbox.snapshotDirectory`, `snapshotFilesystem`, `mountImage` and `unmountImage`.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { refuses, run } from "./standins.mjs";

const INVALID_ARGUMENT = 3;
const NOT_FOUND = 5;
const FAILED_PRECONDITION = 9;
const experimentalEncryptionKey = Buffer.from("sixteen bytes ok");

/** A directory of this case's own with a tree in it. */
async function place(sandbox) {
  const top = `${process.env.DOORWARD_PLACE}/${randomUUID()}`;
  await run(sandbox, `mkdir -p ${top}/tree/deep; echo words >${top}/tree/deep/file`);
  return top;
}

export async function aSnapshotIsMountedAndUnmounted(context) {
  const sandbox = await context.sandbox();
  const top = await place(sandbox);
  const image = await sandbox.snapshotDirectory(`${top}/tree`);
  assert.ok(image.imageId.startsWith("im-"), image.imageId);
  await run(sandbox, `mkdir ${top}/work; echo hidden >${top}/work/hidden`);
  await sandbox.mountImage(`${top}/work`, image);
  assert.equal(await run(sandbox, `cat ${top}/work/deep/file; ls ${top}/work`), "words\ndeep\n");
  await run(sandbox, `echo more >${top}/work/more`);
  const second = await sandbox.snapshotDirectory(`${top}/work`, { ttlMs: null });
  await sandbox.mountImage(`${top}/new/place`, second);
  assert.equal(await run(sandbox, `cat ${top}/new/place/more`), "more\n");
  await sandbox.unmountImage(`${top}/new/place`);
  await sandbox.unmountImage(`${top}/work`);
  assert.equal(await run(sandbox, `ls ${top}/work`), "hidden\n");
}

export async function nothingIsAnEmptyDirectory(context) {
  const sandbox = await context.sandbox();
  const top = await place(sandbox);
  await sandbox.mountImage(`${top}/tree`);
  assert.equal(await run(sandbox, `ls -A ${top}/tree`), "");
  await sandbox.unmountImage(`${top}/tree`);
  assert.equal(await run(sandbox, `ls ${top}/tree`), "deep\n");
}

export async function aKey(context) {
  const sandbox = await context.sandbox();
  const top = await place(sandbox);
  const image = await sandbox.snapshotDirectory(`${top}/tree`, { experimentalEncryptionKey });
  await refuses(INVALID_ARGUMENT, sandbox.mountImage(`${top}/work`, image));
  await sandbox.mountImage(`${top}/work`, image, { experimentalEncryptionKey });
  assert.equal(await run(sandbox, `cat ${top}/work/deep/file`), "words\n");
  await sandbox.unmountImage(`${top}/work`);
}

export async function theWholeFileSystem(context) {
  const sandbox = await context.sandbox();
  // What the agent has to say about its answer reaches the user.
  const warning = "left out";
  sandbox.logger.expected.push(warning);
  const image = await sandbox.snapshotFilesystem({ timeoutMs: 500_000, ttlMs: 3_600_000 });
  assert.ok(sandbox.logger.said.some((words) => words.includes(warning)));
  const top = await place(sandbox);
  await sandbox.mountImage(`${top}/root`, image);
  assert.equal(await run(sandbox, `cat ${top}/root/etc/marked`), "marked\n");
  await sandbox.unmountImage(`${top}/root`);
}

export async function errorsAreNotRetried(context) {
  const sandbox = await context.sandbox();
  const top = await place(sandbox);
  const image = await sandbox.snapshotDirectory(`${top}/tree`);
  const begun = performance.now();
  await refuses(FAILED_PRECONDITION, sandbox.unmountImage(`${top}/tree`));
  await refuses(NOT_FOUND, sandbox.snapshotDirectory(`${top}/missing`));
  await refuses(INVALID_ARGUMENT, sandbox.mountImage("/", image));
  await refuses(NOT_FOUND, sandbox.mountImage(`${top}/tree`, { imageId: "im-unknown" }));
  assert.ok(performance.now() - begun < 5000);
}
