"""`Sandbox.exec` and what it returns: start, read, write, stream, wait, poll, timeouts, PTY."""

import asyncio
import hashlib
import io
import random
import time

from modal import exception
from modal.stream_type import StreamType
from standins import silence


async def case_run_read_wait(context):
    with silence():
        process = await context.sandbox().exec("sh", "-c", "echo out; echo err >&2; exit 3")
        assert await process.stdout.read() == "out\n"
        assert await process.stderr.read() == "err\n"
        assert await process.wait() == 3
        assert process.returncode == 3
        assert await process.poll() == 3


async def case_read_again_after_the_exit(context):
    process = await context.sandbox().exec("sh", "-c", "seq 1000; kill -9 $$")
    assert await process.wait() == 137
    assert await process.stdout.read() == "".join(f"{n}\n" for n in range(1, 1001))


async def case_lines_as_they_come(context):
    sandbox = context.sandbox()
    process = await sandbox.exec("sh", "-c", "while read l; do echo got $l; done", bufsize=1)
    lines = process.stdout.__aiter__()
    for word in ["one", "two", "three"]:
        process.stdin.write(word + "\n")
        await process.stdin.drain()
        assert await asyncio.wait_for(lines.__anext__(), 20) == f"got {word}\n"
    assert await process.poll() is None
    process.stdin.write_eof()
    await process.stdin.drain()
    assert await process.wait() == 0


async def case_environment_directory_and_devnull(context):
    process = await context.sandbox().exec(
        "sh",
        "-c",
        "echo $A,$B; pwd; echo lost >&2",
        env={"A": "1", "B": "two words"},
        workdir="/usr",
        stderr=StreamType.DEVNULL,
    )
    assert await process.stdout.read() == "1,two words\n/usr\n"
    assert await process.wait() == 0


async def case_binary_is_exact(context):
    data = random.Random(1).randbytes(3_000_000)
    process = await context.sandbox().exec("cat", text=False)
    process.stdin.write(data)
    process.stdin.write_eof()
    await process.stdin.drain()
    assert await process.stdout.read() == data
    assert await process.wait() == 0


async def case_sixteen_mebibytes_in_one_message(context):
    data = random.Random(2).randbytes(16 << 20)
    process = await context.sandbox().exec("sha256sum")
    process.stdin.write(data)
    process.stdin.write_eof()
    await process.stdin.drain()
    assert (await process.stdout.read()).split()[0] == hashlib.sha256(data).hexdigest()


async def case_a_stream_of_input(context):
    data = random.Random(3).randbytes(20_000_000)
    process = await context.sandbox().exec("sha256sum")
    assert await process._stdin_write_stream(io.BytesIO(data)) == len(data)
    assert (await process.stdout.read()).split()[0] == hashlib.sha256(data).hexdigest()
    empty = await context.sandbox().exec("wc", "-c")
    assert await empty._stdin_write_stream(io.BytesIO(b"")) == 0
    assert (await empty.stdout.read()).strip() == "0"


async def case_input_that_nobody_wants(context):
    for _ in range(10):
        process = await context.sandbox().exec("sh", "-c", "exec 0<&-; exit 9")
        try:
            await process._stdin_write_stream(io.BytesIO(bytes(5_000_000)))
            raise AssertionError("the write succeeded")
        except exception.ConflictError:
            # The client polls right then, and must find the exit.
            assert await process.poll() == 9


async def case_a_timeout_kills(context):
    begun = time.monotonic()
    process = await context.sandbox().exec("sh", "-c", "echo hi; sleep 999", timeout=1)
    assert await process.stdout.read() == "hi\n"
    assert await process.wait() in (-1, 137)
    assert time.monotonic() - begun < 8


async def case_a_timeout_of_zero_is_none(context):
    process = await context.sandbox().exec("sh", "-c", "sleep 0.5; echo hi", timeout=0)
    assert await process.stdout.read() == "hi\n"
    assert await process.wait() == 0


async def case_a_terminal(context):
    script = "test -t 0 && stty size; echo $TERM; echo err >&2"
    process = await context.sandbox().exec("sh", "-c", script, pty=True)
    assert await process.stdout.read() == "24 80\r\nxterm-256color\r\nerr\r\n"
    assert await process.stderr.read() == ""
    assert await process.wait() == 0


async def case_what_is_typed_on_a_terminal(context):
    process = await context.sandbox().exec("sh", "-c", "echo ready; cat", pty=True, text=False)
    chunks = process.stdout.__aiter__()
    seen = b""
    while b"ready" not in seen:
        seen += await asyncio.wait_for(chunks.__anext__(), 20)
    for key in [b"a", b"b", b"\r", b"\x04"]:
        process.stdin.write(key)
        await process.stdin.drain()
    assert await process.wait() == 0


async def case_errors_are_the_clients_own_kinds(context):
    sandbox = context.sandbox()
    begun = time.monotonic()
    try:
        await sandbox.exec("no-such-program-anywhere")
        raise AssertionError("it started")
    except exception.NotFoundError:
        raise
    except (exception.ConflictError, exception.InvalidError) as error:
        assert "no-such-program-anywhere" in str(error), error
    try:
        await sandbox.exec("true", workdir="/no/such/place")
        raise AssertionError("it started")
    except exception.InvalidError as error:
        assert "/no/such/place" in str(error), error
    # None of these was retried.
    assert time.monotonic() - begun < 5


async def case_fifty_at_once_on_one_connection(context):
    sandbox = context.sandbox()

    async def one(n):
        process = await sandbox.exec("sh", "-c", f"read x; echo {n} $x")
        reading = asyncio.create_task(process.stdout.read())
        errors = asyncio.create_task(process.stderr.read())
        waiting = asyncio.create_task(process.wait())
        process.stdin.write(f"{n * n}\n")
        process.stdin.write_eof()
        await process.stdin.drain()
        assert await reading == f"{n} {n * n}\n"
        assert await errors == ""
        assert await waiting == 0

    await asyncio.gather(*(one(n) for n in range(50)))


async def case_gigabytes_are_not_lost_while_nobody_reads(context):
    size = 100_000_000
    process = await context.sandbox().exec("sh", "-c", f"yes 0123456 | head -c {size}", text=False)
    assert await process.wait() == 0
    digest, count = hashlib.sha256(), 0
    async for chunk in process.stdout:
        digest.update(chunk)
        count += len(chunk)
    assert count == size
    assert digest.digest() == hashlib.sha256(b"0123456\n" * (size // 8)).digest()


async def case_a_background_process_holds_up_nothing(context):
    begun = time.monotonic()
    process = await context.sandbox().exec("sh", "-c", "sleep 30 & echo started")
    assert await process.wait() == 0
    assert await process.stdout.read() == "started\n"
    assert time.monotonic() - begun < 10
