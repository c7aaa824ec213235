"""`Sandbox.snapshot_directory`, `snapshot_filesystem`, `mount_image` and `unmount_image`."""

import os
import uuid

from modal import exception
from modal.image import _Image
from standins import LocalClient, fails, silence

KEY = b"sixteen bytes ok"


async def run(sandbox, script):
    process = await sandbox.exec("sh", "-c", script)
    printed = await process.stdout.read()
    errors = await process.stderr.read()
    assert await process.wait() == 0, errors
    return printed


async def place(sandbox):
    """A directory of this case's own with a tree in it."""
    top = f"{os.environ['DOORWARD_PLACE']}/{uuid.uuid4()}"
    await run(sandbox, f"mkdir -p {top}/tree/deep; echo words >{top}/tree/deep/file; ln -s deep {top}/tree/link")
    return top


async def case_a_snapshot_is_mounted_and_unmounted(context):
    sandbox = context.sandbox()
    top = await place(sandbox)
    with silence():
        image = await sandbox.snapshot_directory(f"{top}/tree")
        assert image.object_id.startswith("im-"), image.object_id
        await run(sandbox, f"mkdir {top}/work; echo hidden >{top}/work/hidden")
        await sandbox.mount_image(f"{top}/work", image)
        assert await run(sandbox, f"cat {top}/work/link/file; ls {top}/work") == "words\ndeep\nlink\n"
        await sandbox.mount_image(f"{top}/work", image)
        await run(sandbox, f"echo more >{top}/work/more")
        second = await sandbox.snapshot_directory(f"{top}/work", ttl=None)
        await sandbox.mount_image(f"{top}/new/place", second)
        assert await run(sandbox, f"cat {top}/new/place/more") == "more\n"
        await sandbox.unmount_image(f"{top}/new/place")
        await sandbox.unmount_image(f"{top}/work")
        assert await run(sandbox, f"ls {top}/work") == "hidden\n"


async def case_nothing_is_an_empty_directory(context):
    sandbox = context.sandbox()
    top = await place(sandbox)
    await sandbox.mount_image(f"{top}/tree", _Image.from_scratch())
    assert await run(sandbox, f"ls -A {top}/tree") == ""
    await sandbox.unmount_image(f"{top}/tree")
    assert await run(sandbox, f"ls {top}/tree") == "deep\nlink\n"


async def case_a_key(context):
    sandbox = context.sandbox()
    top = await place(sandbox)
    image = await sandbox.snapshot_directory(f"{top}/tree", _experimental_encryption_key=KEY)
    await fails(exception.InvalidError, sandbox.mount_image(f"{top}/work", image))
    await sandbox.mount_image(f"{top}/work", image, _experimental_encryption_key=KEY)
    assert await run(sandbox, f"cat {top}/work/deep/file") == "words\n"
    await sandbox.unmount_image(f"{top}/work")


async def case_the_whole_file_system(context):
    sandbox = context.sandbox()
    image = await sandbox.snapshot_filesystem(timeout=500, ttl=3600)
    top = await place(sandbox)
    await sandbox.mount_image(f"{top}/root", image)
    assert await run(sandbox, f"cat {top}/root/etc/marked") == "marked\n"
    # Neither what the kernel shows nor what the agent keeps is in it.
    assert await run(sandbox, f"ls -A {top}/root/proc") == ""
    state = os.environ["DOORWARD_STATE"]
    assert await run(sandbox, f"test -e {top}/root{state}/images || echo none") == "none\n"
    await sandbox.unmount_image(f"{top}/root")


async def case_errors_are_the_clients_own_kinds(context):
    sandbox = context.sandbox()
    top = await place(sandbox)
    image = await sandbox.snapshot_directory(f"{top}/tree")
    other = await sandbox.snapshot_directory(f"{top}/tree")
    await sandbox.mount_image(f"{top}/work", image)
    await fails(exception.ConflictError, sandbox.mount_image(f"{top}/work", other))
    await sandbox.unmount_image(f"{top}/work")
    await fails(exception.ConflictError, sandbox.unmount_image(f"{top}/work"))
    await fails(exception.NotFoundError, sandbox.snapshot_directory(f"{top}/missing"))
    await fails(exception.InvalidError, sandbox.snapshot_directory(f"{top}/tree", ttl=0))
    await fails(exception.InvalidError, sandbox.mount_image("/", image))
    unknown = _Image._new_hydrated("im-unknown", LocalClient(), None)
    await fails(exception.NotFoundError, sandbox.mount_image(f"{top}/work", unknown))
