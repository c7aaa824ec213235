"""`Sandbox.filesystem` where commands run as an ordinary user: what they may not, they are told."""

from modal import exception
from standins import fails


async def case_another_user_is_denied(context):
    sandbox = context.sandbox()
    files = sandbox.filesystem
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
    sandbox = context.sandbox()
    files = sandbox.filesystem
    top = (await (await sandbox.exec("mktemp", "-d")).stdout.read()).strip()
    await files.write_text("theirs", f"{top}/new/file")
    info = await files.stat(f"{top}/new/file")
    assert info.owner == "nobody", info
    await files.remove(top, recursive=True)
