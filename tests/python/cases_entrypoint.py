"""The sandbox's own streams: the container's main command, read and written over the newer calls."""

from standins import silence


async def case_ready_write_and_read(context):
    with silence():
        sandbox = context.sandbox()
        await sandbox.wait_until_ready(timeout=20)
        sandbox.stdin.write("one\ntwo\n")
        await sandbox.stdin.drain.aio()
        sandbox.stdin.write_eof()
        await sandbox.stdin.drain.aio()
        assert await sandbox.stdout.read.aio() == "begin\none\ntwo\nend\n"
        assert await sandbox.stderr.read.aio() == "words\n"
