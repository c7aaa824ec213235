// `Sandbox.filesystem`: write, read, list, stat, make, remove, watch, copies, and its errors.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { modal, run } from "./standins.mjs";

/** A sandbox and a directory of this case's own in it. */
async function fresh(context) {
  const sandbox = await context.sandbox();
  const top = (await run(sandbox, "mktemp -d")).trim();
  return { sandbox, files: sandbox.filesystem, top };
}

export async function bytesAndTextAreWrittenAndRead(context) {
  const { files, top } = await fresh(context);
  const path = `${top}/with/parents/file`;
  for (const data of [[0, 255, 13, 10], [], [1, 2]]) {
    await files.writeBytes(Uint8Array.from(data), path);
    assert.deepEqual([...(await files.readBytes(path))], data);
  }
  const text = "unicode: \u2603\u{1f389}\n";
  await files.writeText(text, path);
  assert.equal(await files.readText(path), text);
}

export async function largeFilesAreCopiedBothWays(context) {
  const { files, top } = await fresh(context);
  const data = randomBytes(10 << 20);
  const local = await mkdtemp(`${tmpdir()}/doorward-test-`);
  try {
    await writeFile(`${local}/up`, data);
    await files.copyFromLocal(`${local}/up`, `${top}/file`);
    assert.equal((await files.stat(`${top}/file`)).size, data.length);
    await files.copyToLocal(`${top}/file`, `${local}/new/down`);
    assert.ok(data.equals(await readFile(`${local}/new/down`)));
  } finally {
    await rm(local, { recursive: true });
  }
}

export async function directoriesAreListedAndDescribed(context) {
  const { sandbox, files, top } = await fresh(context);
  await files.makeDirectory(`${top}/sub/deep`);
  await files.writeText("hello", `${top}/zebra`);
  await run(sandbox, `ln -s zebra ${top}/alpha`);
  const entries = await files.listFiles(top);
  assert.deepEqual(entries.map(({ name, type }) => [name, type]), [
    ["alpha", "symlink"],
    ["sub", "directory"],
    ["zebra", "file"],
  ]);
  assert.equal(entries[0].symlinkTarget, "zebra");
  const zebra = await files.stat(`${top}/zebra`);
  assert.deepEqual(zebra, entries[2]);
  assert.equal(`${zebra.size} ${zebra.permissions} ${zebra.path}`, `5 0644 ${top}/zebra`);
  const owner = await run(sandbox, `stat -c %U,%G ${top}/zebra`);
  assert.equal(`${zebra.owner},${zebra.group}\n`, owner);
  await files.remove(`${top}/sub`, { recursive: true });
  await files.remove(`${top}/zebra`);
  assert.equal((await files.listFiles(top)).length, 1);
}

export async function errorsAreTheClientsOwnKinds(context) {
  const { files, top } = await fresh(context);
  await files.writeText("words", `${top}/sub/file`);
  const {
    SandboxFilesystemDirectoryNotEmptyError: NotEmpty,
    SandboxFilesystemIsADirectoryError: IsADirectory,
    SandboxFilesystemNotADirectoryError: NotADirectory,
    SandboxFilesystemNotFoundError: NotFound,
    SandboxFilesystemPathAlreadyExistsError: AlreadyExists,
  } = modal;
  await assert.rejects(files.readBytes(`${top}/none`), NotFound);
  await assert.rejects(files.stat(`${top}/none`), NotFound);
  await assert.rejects(files.readText(`${top}/sub`), IsADirectory);
  await assert.rejects(files.writeText("words", `${top}/sub`), IsADirectory);
  await assert.rejects(files.writeBytes(Buffer.alloc(5 << 20), `${top}/sub/file/below`), NotADirectory);
  await assert.rejects(files.listFiles(`${top}/sub/file`), NotADirectory);
  await assert.rejects(files.remove(`${top}/sub`), NotEmpty);
  await assert.rejects(files.makeDirectory(`${top}/sub`, { createParents: false }), AlreadyExists);
  const { size } = await files.stat(`${top}/sub/file`);
  assert.equal(size, 5);
}

export async function changesAreWatched(context) {
  const { sandbox, files, top } = await fresh(context);
  const watch = files.watch(top, { filter: ["Create"], recursive: true });
  const seen = watch.next();
  // It is not said when a watch has begun: files are made until one is seen.
  const maker = await sandbox.exec(["sh", "-c", `while mktemp ${top}/XXXXXX; do sleep 0.1; done`]);
  const { value } = await seen;
  assert.equal(value.eventType, "Create");
  assert.ok(value.paths[0].startsWith(`${top}/`), value.paths[0]);
  await watch.return();
  await run(sandbox, `rm -r ${top}`);
  assert.equal(await maker.wait(), 0);
}

export async function aWatchEndsWithItsTimeout(context) {
  const { files, top } = await fresh(context);
  for await (const change of files.watch(top, { timeoutMs: 1000 })) {
    assert.fail(change);
  }
}
