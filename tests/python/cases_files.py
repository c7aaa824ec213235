"""`Sandbox.filesystem`: write, read, list, stat, make, remove, watch, copies, and its exceptions."""

import asyncio
import random
import tempfile
import time

from modal import exception
from modal.types import FileType, FileWatchEventType
from standins import fails, silence


async def fresh(context):
    """A sandbox, which has to be kept while its files are used, and a directory of this case's own in it."""
    sandbox = context.sandbox()
    process = await sandbox.exec("mktemp", "-d")
    return sandbox, (await process.stdout.read()).strip()


async def case_bytes_and_text_are_written_and_read(context):
    with silence():
        sandbox, top = await fresh(context)
        files = sandbox.filesystem
        path = f"{top}/with/parents/file"
        for data in [b"\x00\xff\r\n", b"", b"shorter"]:
            await files.write_bytes(data, path)
            assert await files.read_bytes(path) == data
        text = "unicode: \u2603\U0001f389\n"
        await files.write_text(text, path)
        assert await files.read_text(path) == text
        assert (await files.stat(path)).permissions == "0644"


async def case_large_files_are_copied_both_ways(context):
    with silence():
        sandbox, top = await fresh(context)
        files = sandbox.filesystem
        data = random.Random(6).randbytes(20 << 20)
        with tempfile.TemporaryDirectory() as local:
            with open(f"{local}/up", "wb") as file:
                file.write(data)
            await files.copy_from_local(f"{local}/up", f"{top}/file")
            assert (await files.stat(f"{top}/file")).size == len(data)
            await files.copy_to_local(f"{top}/file", f"{local}/new/down")
            with open(f"{local}/new/down", "rb") as file:
                assert file.read() == data
            missing = files.copy_to_local(f"{top}/none", f"{local}/new/down")
            await fails(exception.SandboxFilesystemNotFoundError, missing)
            with open(f"{local}/new/down", "rb") as file:
                assert file.read() == data
        assert await files.read_bytes(f"{top}/file") == data


async def case_directories_are_listed_and_described(context):
    with silence():
        sandbox, top = await fresh(context)
        files = sandbox.filesystem
        await files.make_directory(f"{top}/sub/deep")
        await files.write_text("hello", f"{top}/zebra")
        await (await sandbox.exec("ln", "-s", "zebra", f"{top}/alpha")).wait()
        entries = await files.list_files(top)
        assert [(entry.name, entry.type) for entry in entries] == [
            ("alpha", FileType.SYMLINK),
            ("sub", FileType.DIRECTORY),
            ("zebra", FileType.FILE),
        ]
        assert entries[0].symlink_target == "zebra" and entries[2].symlink_target is None
        assert await files.list_files(f"{top}/sub/deep") == []
        info = await files.stat(f"{top}/zebra")
        assert info == entries[2]
        process = await sandbox.exec("stat", "-c", "%s %f %a %U %G %Y", f"{top}/zebra")
        size, mode, permissions, owner, group, when = (await process.stdout.read()).split()
        assert (info.size, info.mode) == (int(size), int(mode, 16))
        assert info.permissions == permissions.zfill(4)
        assert (info.owner, info.group) == (owner, group)
        assert abs(info.modified_time - int(when)) <= 1
        assert (await files.stat(f"{top}/alpha")).is_symlink()


async def case_things_are_made_and_removed(context):
    with silence():
        sandbox, top = await fresh(context)
        files = sandbox.filesystem
        await files.make_directory(f"{top}/a/b")
        await files.make_directory(f"{top}/a/b")
        await files.make_directory(f"{top}/c", create_parents=False)
        await files.write_text("x", f"{top}/a/b/file")
        await files.remove(f"{top}/a/b/file")
        await files.remove(f"{top}/c")
        await files.write_text("x", f"{top}/a/b/file")
        await files.remove(f"{top}/a", recursive=True)
        assert await files.list_files(top) == []


async def case_failures_are_the_clients_own_exceptions(context):
    with silence():
        sandbox, top = await fresh(context)
        files = sandbox.filesystem
        await files.write_text("x", f"{top}/file")
        await files.make_directory(f"{top}/dir/in")
        sparse = ["truncate", "-s", str((5 << 30) + 1), f"{top}/large"]
        await (await sandbox.exec(*sparse)).wait()
        none, file, within = f"{top}/none", f"{top}/file", f"{top}/file/in"
        e = exception
        for kind, call in [
            (e.SandboxFilesystemNotFoundError, files.read_bytes(none)),
            (e.SandboxFilesystemNotFoundError, files.list_files(none)),
            (e.SandboxFilesystemNotFoundError, files.stat(none)),
            (e.SandboxFilesystemNotFoundError, files.remove(none)),
            (e.SandboxFilesystemNotFoundError, files.make_directory(f"{none}/in", create_parents=False)),
            (e.SandboxFilesystemIsADirectoryError, files.read_text(f"{top}/dir")),
            (e.SandboxFilesystemIsADirectoryError, files.write_text("x", f"{top}/dir")),
            (e.SandboxFilesystemNotADirectoryError, files.write_text("x", within)),
            (e.SandboxFilesystemNotADirectoryError, files.write_text("x", f"{within}/it")),
            (e.SandboxFilesystemNotADirectoryError, files.list_files(file)),
            (e.SandboxFilesystemNotADirectoryError, files.list_files(within)),
            (e.SandboxFilesystemNotADirectoryError, files.stat(within)),
            (e.SandboxFilesystemNotADirectoryError, files.make_directory(within + "/it")),
            (e.SandboxFilesystemPathAlreadyExistsError, files.make_directory(file)),
            (e.SandboxFilesystemPathAlreadyExistsError, files.make_directory(f"{top}/dir", create_parents=False)),
            (e.SandboxFilesystemDirectoryNotEmptyError, files.remove(f"{top}/dir")),
            (e.SandboxFilesystemFileTooLargeError, files.read_bytes(f"{top}/large")),
        ]:
            await fails(kind, call, top)


async def case_a_refused_upload_says_why(context):
    # The tool has ended long before all of it is sent.
    sandbox, top = await fresh(context)
    files = sandbox.filesystem
    for _ in range(10):
        large = files.write_bytes(bytes(8 << 20), top)
        await fails(exception.SandboxFilesystemIsADirectoryError, large, top)


async def watched(files, path, trigger, **options):
    """The events of a watch while `trigger` runs over and over: nothing says when it has begun."""
    events = []

    async def repeat():
        while True:
            await trigger()
            await asyncio.sleep(0.05)

    repeating = asyncio.create_task(repeat())
    try:
        async for event in files.watch(path, **options):
            events.append(event)
    finally:
        repeating.cancel()
    return events


async def case_changes_are_told_until_the_time_is_over(context):
    sandbox, top = await fresh(context)
    files = sandbox.filesystem
    await files.make_directory(f"{top}/sub")

    async def trigger():
        await files.write_text("x", f"{top}/sub/file")
        await files.remove(f"{top}/sub/file")

    create = [FileWatchEventType.Create]
    begun = time.monotonic()
    events = await watched(files, top, trigger, recursive=True, filter=create, timeout=2)
    assert 1.5 < time.monotonic() - begun < 20
    assert events and all(event.type == FileWatchEventType.Create for event in events)
    assert all(event.paths == [f"{top}/sub/file"] for event in events), events
    everything = await watched(files, top, trigger, recursive=True, timeout=2)
    kinds = {event.type for event in everything}
    assert {FileWatchEventType.Create, FileWatchEventType.Modify, FileWatchEventType.Remove} <= kinds
    assert await watched(files, top, trigger, timeout=1) == []
    assert await watched(files, f"{top}/sub", trigger, filter=[], timeout=1) == []
    assert [event async for event in files.watch(top, timeout=0)] == []


async def case_a_watch_that_is_left_ends_at_once(context):
    sandbox, top = await fresh(context)
    files = sandbox.filesystem
    begun = time.monotonic()

    async def write():
        while True:
            await files.write_text("x", f"{top}/file")
            await asyncio.sleep(0.05)

    writing = asyncio.create_task(write())
    events = files.watch(top, timeout=300)
    async for event in events:
        assert event.paths == [f"{top}/file"], event
        break
    await events.aclose()
    writing.cancel()
    assert time.monotonic() - begun < 20
    await fails(exception.SandboxFilesystemNotFoundError, files.watch(f"{top}/none").__anext__())
