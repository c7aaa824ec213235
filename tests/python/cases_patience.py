"""A command that takes longer than the client's deadline for one wait: nothing is to be seen of it."""

import asyncio
import os

from standins import silence

SECONDS = int(os.environ.get("DOORWARD_TESTS_PATIENCE", "3"))


async def case_a_long_command_warns_of_nothing(context):
    with silence():
        process = await context.sandbox().exec("sh", "-c", f"echo begin; sleep {SECONDS}; echo end")
        reading = asyncio.create_task(process.stdout.read())
        assert await process.wait() == 0
        assert await reading == "begin\nend\n"
