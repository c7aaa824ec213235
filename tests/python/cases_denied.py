"""`Sandbox.filesystem` where commands run as an ordinary user: what they may not, they are told."""

from modal import exception
from standins import fails


async def case_another_user_is_denied(context):
    files = context.sandbox().filesystem
    for call in [
        files.read_bytes("/etc/shadow"),
        files.write_text("x", "/etc/made"),
        files.write_text("x", "/etc/passwd"),
        files.make_directory("/etc/made"),
        files.remove("/etc/passwd"),
        files.stat("/root/file"),
        files.list_files("/root"),
        files.watch("/root").__anext__(),
    ]:
        await fails(exception.SandboxFilesystemPermissionError, call)


async def case_their_own_files_are_theirs(context):
    files = context.sandbox().filesystem
    await files.write_text("theirs", "/tmp/doorward-denied/file")
    info = await files.stat("/tmp/doorward-denied/file")
    assert info.owner == "nobody", info
    await files.remove("/tmp/doorward-denied", recursive=True)
