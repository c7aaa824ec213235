// Small stand-ins for the control plane, so that the public client, as it is, talks to one agent.
//
// Everything between a call on `Sandbox` and the wire is the client's own code. What the control plane
// would say (which task, where its agent is, with which token) is said here.

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { createRequire } from "node:module";

// The client speaks to the agent without TLS when its control plane is on this machine.
process.env.MODAL_SERVER_URL = process.env.DOORWARD_CONTROL_PLANE ?? "http://127.0.0.1:1";
process.env.MODAL_CONFIG_PATH = "/dev/null";

// The packages lie under `target/`, not beside this file.
export const modal = createRequire(`${process.env.DOORWARD_PACKAGES}/`)("modal");

// What the control plane says when the address is only known to be on this machine.
const EXPECTED = "Using insecure TLS (skip certificate verification) for task command router";

/** What each case is given. */
export class Context {
  constructor(hostAndPort, taskId, secretFile) {
    Object.assign(this, { hostAndPort, taskId, secretFile });
  }

  /** An HS256 token that expires `lifetime` seconds from now. */
  token(lifetime = 3600, taskId = this.taskId) {
    const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
    const exp = Math.floor(Date.now() / 1000) + lifetime;
    const signed = `${part({ alg: "HS256", typ: "JWT" })}.${part({ exp, task_id: taskId })}`;
    return `${signed}.${createHmac("sha256", this.secretFile).update(signed).digest("base64url")}`;
  }

  /** The client library's own sandbox object, on the agent under test, with these tokens in turn. */
  async sandbox(...tokens) {
    const control = new ControlPlane(this, tokens.length > 0 ? tokens : [this.token()]);
    const logger = new Listener();
    const client = new modal.ModalClient({ cpClient: control, logger, logLevel: "debug" });
    const sandbox = await client.sandboxes.fromId("sb-proof");
    return Object.assign(sandbox, { client, control, logger });
  }
}

/** Hands out the agent's address and tokens, and counts how often it was asked. */
class ControlPlane {
  fetched = 0;

  constructor(context, tokens) {
    Object.assign(this, { context, tokens });
  }

  async sandboxGetTaskIdV2() {
    return { taskId: this.context.taskId };
  }

  async sandboxGetCommandRouterAccess() {
    const jwt = this.tokens[Math.min(this.fetched, this.tokens.length - 1)];
    this.fetched += 1;
    // The client takes no other scheme, even if it then dials without TLS.
    return { url: `https://${this.context.hostAndPort}`, jwt };
  }
}

/** Keeps what the client says. */
class Listener {
  said = [];
  // What it may warn its user of.
  expected = [EXPECTED];
  #waiting = [];

  debug(message) {
    this.said.push(message);
    this.#waiting = this.#waiting.filter(({ words, done }) => !message.includes(words) || done());
  }

  info(message) {
    this.debug(message);
  }

  warn(message, ...more) {
    this.debug(message);
    const expected = this.expected.some((words) => message.includes(words));
    assert.ok(expected, `the client warned: ${message} ${more}`);
  }

  error(message, ...more) {
    this.warn(message, ...more);
  }

  /** Waits until the client says this. */
  hears(words) {
    return new Promise((resolve) => {
      const done = () => void resolve();
      this.#waiting.push({ words, done });
    });
  }
}

/** Runs a script and returns what it printed; it must succeed. */
export async function run(sandbox, script) {
  const process = await sandbox.exec(["sh", "-c", script]);
  const printed = await process.stdout.readText();
  assert.equal(await process.wait(), 0, await process.stderr.readText());
  return printed;
}

/** Writes all of it in one message and closes the input. */
export async function feed(process, data) {
  const writer = process.stdin.getWriter();
  await writer.write(data);
  await writer.close();
}

/** Awaits `call`, which must fail with this code of gRPC and these words. */
export async function refuses(code, call, words = "") {
  await assert.rejects(call, (error) => {
    assert.equal(error.code, code, error);
    assert.ok(error.message.includes(words), error);
    return true;
  });
}
