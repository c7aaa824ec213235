"""Tokens that expire while the client works: it refreshes them and goes on."""

import io

from modal import exception
from standins import sandbox


def fresh_after_stale(context):
    return context.access(context.token(-300), context.token())


async def case_a_unary_call_refreshes(context):
    access = fresh_after_stale(context)
    process = await sandbox(access, context.task_id).exec("echo", "hi")
    assert access.fetched == 2
    assert await process.stdout.read() == "hi\n"
    assert await process.wait() == 0


async def case_a_stream_refreshes(context):
    box = sandbox(context.access(), context.task_id)
    process = await box.exec("echo", "hi")
    access = fresh_after_stale(context)
    other = await sandbox(access, context.task_id)._impl.get_command_router_client(context.task_id)
    chunks = [
        item.data
        async for item in other.exec_stdio_read(context.task_id, process._process_id, 1)
    ]
    assert b"".join(chunks) == b"hi\n"
    assert access.fetched == 2


async def case_a_stream_of_input_refreshes(context):
    process = await sandbox(context.access(), context.task_id).exec("cat")
    access = fresh_after_stale(context)
    other = await sandbox(access, context.task_id)._impl.get_command_router_client(context.task_id)
    source = io.BytesIO(b"words")
    sent = await other.exec_stdin_write_stream(context.task_id, process._process_id, source)
    assert sent == 5
    assert access.fetched == 2
    assert await process.stdout.read() == "words"


async def case_a_wrong_token_is_an_error_and_no_loop(context):
    wrong = context.access("not.a.token")
    try:
        await sandbox(wrong, context.task_id).exec("true")
        raise AssertionError("it started")
    except exception.AuthError:
        pass


async def case_another_tasks_token_is_denied(context):
    import standins

    token = standins.token(context.secret, "ta-other", 600)
    try:
        await sandbox(context.access(token), context.task_id).exec("true")
        raise AssertionError("it started")
    except exception.PermissionDeniedError:
        pass
