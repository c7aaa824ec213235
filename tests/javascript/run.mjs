// Runs one subject's cases with the public client against a running agent.
//
// Usage: run.mjs SUBJECT HOST:PORT TASK_ID SECRET_FILE
//
// Each function that `cases_SUBJECT.mjs` exports runs by itself; the exit code is 1 if one failed.

import { readFileSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";
import { Context } from "./standins.mjs";

const CASE_MS_MAX = 120_000;
const [subject, hostAndPort, taskId, secretFile] = process.argv.slice(2);
const secret = readFileSync(secretFile, "utf8").trimEnd();
const cases = Object.entries(await import(`./cases_${subject}.mjs`));
let failed = 0;
for (const [name, run] of cases) {
  const begun = performance.now();
  const seconds = () => `${((performance.now() - begun) / 1000).toFixed(1)} s`;
  try {
    await Promise.race([run(new Context(hostAndPort, taskId, secret)), late()]);
    console.log(`${subject} ${name}: ok (${seconds()})`);
  } catch (error) {
    failed += 1;
    console.log(error);
    console.log(`${subject} ${name}: FAILED (${seconds()})`);
  }
}

/** Fails when a case takes too long; keeps the process meanwhile. */
async function late() {
  await pause(CASE_MS_MAX);
  throw new Error("this takes too long");
}

console.log(`${cases.length - failed} passed, ${failed} failed`);
// The client's connections would keep the process until they are idle.
process.exit(failed > 0 || cases.length === 0 ? 1 : 0);
