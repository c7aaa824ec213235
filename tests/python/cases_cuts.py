"""The connection breaks every few hundred KiB: the client resumes by offset and nothing is lost."""

import hashlib
import io
import random

SIZE = 16 << 20


async def case_reads_resume(context):
    script = f"yes 0123456 | head -c {SIZE}"
    process = await context.sandbox().exec("sh", "-c", script, text=False)
    digest = hashlib.sha256()
    async for chunk in process.stdout:
        digest.update(chunk)
    assert digest.digest() == hashlib.sha256(b"0123456\n" * (SIZE // 8)).digest()
    assert await process.wait() == 0


async def case_a_stream_of_input_resumes(context):
    # The client gives up after nine resumes, which bounds what can pass through this proxy.
    data = random.Random(4).randbytes(3 << 20)
    process = await context.sandbox().exec("sha256sum")
    assert await process._stdin_write_stream(io.BytesIO(data)) == len(data)
    assert (await process.stdout.read()).split()[0] == hashlib.sha256(data).hexdigest()


async def case_unary_writes_are_retried(context):
    data = random.Random(5).randbytes(4 << 20)
    process = await context.sandbox().exec("sha256sum")
    for at in range(0, len(data), 100_000):
        process.stdin.write(data[at : at + 100_000])
        await process.stdin.drain()
    process.stdin.write_eof()
    await process.stdin.drain()
    assert (await process.stdout.read()).split()[0] == hashlib.sha256(data).hexdigest()


async def case_files_are_written_and_read(context):
    sandbox = context.sandbox()
    path = (await (await sandbox.exec("mktemp")).stdout.read()).strip()
    data = random.Random(6).randbytes(3 << 20)
    await sandbox.filesystem.write_bytes(data, path)
    assert await sandbox.filesystem.read_bytes(path) == data
    await sandbox.filesystem.remove(path)
