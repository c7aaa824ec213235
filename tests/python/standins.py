"""Small stand-ins for the control plane, so that the public client, as it is, talks to one agent.

Everything between a call on `Sandbox` and the wire is the client's own code. What the control plane
would say (which task, where its agent is, with which token) is said here.
"""

import base64
import contextlib
import hashlib
import hmac
import json
import logging
import time
import warnings

from modal.sandbox._impl_v2 import SandboxImplV2
from modal.sandbox._sandbox import _Sandbox
from modal.sandbox._task_command_router_client import TaskCommandRouterClient
from modal_proto import api_pb2


class LocalClient:
    """What the client library asks of its control-plane client: only where that is."""

    _is_localhost = True


class Access:
    """Hands out the agent's address and tokens, and counts how often it was asked."""

    def __init__(self, url, tokens):
        self.url = url
        self.tokens = tokens
        self.fetched = 0

    async def __call__(self):
        token = self.tokens[min(self.fetched, len(self.tokens) - 1)]
        self.fetched += 1
        return api_pb2.CommandRouterAccess(url=self.url, jwt=token)


class LocalSandbox(SandboxImplV2):
    """A sandbox whose task is known and whose agent is the one under test."""

    def __init__(self, access, task_id):
        super().__init__(LocalClient(), "sb-proof", task_id=task_id)
        self._access = access

    async def _open_command_router_client(self, task_id):
        return await TaskCommandRouterClient.connect(self.client, task_id, self._access)


def sandbox(access, task_id):
    """The client library's own sandbox object, on the agent under test."""
    return _Sandbox._from_impl(LocalSandbox(access, task_id), None)


def token(secret, task_id, lifetime):
    """An HS256 token that expires `lifetime` seconds from now."""

    def part(data):
        return base64.urlsafe_b64encode(data).rstrip(b"=")

    claims = {"exp": int(time.time() + lifetime), "task_id": task_id}
    signed = part(b'{"alg":"HS256","typ":"JWT"}') + b"." + part(json.dumps(claims).encode())
    return (signed + b"." + part(hmac.new(secret, signed, hashlib.sha256).digest())).decode()


async def fails(kind, call, words=""):
    """Awaits `call`, which must raise exactly this, with these words."""
    try:
        await call
    except kind as error:
        assert type(error) is kind, repr(error)
        assert words in str(error), error
        return
    raise AssertionError(f"no {kind.__name__}")


@contextlib.contextmanager
def silence():
    """Fails when the client warned its user of anything meanwhile."""
    said = []

    class Listener(logging.Handler):
        def emit(self, record):
            said.append(record.getMessage())

    listener = Listener(logging.WARNING)
    loggers = [logging.getLogger(), logging.getLogger("modal-client"), logging.getLogger("modal")]
    for logger in loggers:
        logger.addHandler(listener)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for logger in loggers:
        logger.removeHandler(listener)
    said += [str(warning.message) for warning in caught]
    assert not said, f"the client warned: {said}"
