"""Runs one subject's cases with the public client against a running agent.

Usage: run.py SUBJECT HOST:PORT TASK_ID SECRET_FILE

Each `case_…` of `cases_SUBJECT.py` runs by itself; the exit code is 1 if one failed.
"""

import asyncio
import importlib
import sys
import time
import traceback

import standins
from modal._utils.async_utils import synchronizer

CASE_SECONDS_MAX = 600


class Context:
    """What each case is given."""

    def __init__(self, url, task_id, secret):
        self.url = url
        self.task_id = task_id
        self.secret = secret

    def token(self, lifetime=3600):
        return standins.token(self.secret, self.task_id, lifetime)

    def access(self, *tokens):
        return standins.Access(self.url, list(tokens) or [self.token()])

    def sandbox(self):
        return standins.sandbox(self.access(), self.task_id)


async def main(subject, host_and_port, task_id, secret_file):
    with open(secret_file, "rb") as file:
        secret = file.read().rstrip(b"\n")
    module = importlib.import_module(f"cases_{subject}")
    cases = [(name, case) for name, case in vars(module).items() if name.startswith("case_")]
    failed = 0
    for name, case in cases:
        begun = time.monotonic()
        try:
            await asyncio.wait_for(case(Context(f"http://{host_and_port}", task_id, secret)), CASE_SECONDS_MAX)
            print(f"{subject} {name}: ok ({time.monotonic() - begun:.1f} s)", flush=True)
        except BaseException:
            failed += 1
            traceback.print_exc(file=sys.stdout)
            print(f"{subject} {name}: FAILED ({time.monotonic() - begun:.1f} s)", flush=True)
    print(f"{len(cases) - failed} passed, {failed} failed")
    return 1 if failed or not cases else 0


if __name__ == "__main__":
    # The client's own objects insist on the client's own event loop.
    loop = synchronizer._get_loop(start=True)
    sys.exit(asyncio.run_coroutine_threadsafe(main(*sys.argv[1:]), loop).result())
