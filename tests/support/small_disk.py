"""A small file system of its own for the data of one server, to be filled to its last byte."""

import contextlib
import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

_SIZE = "24m"
"""The database, its log, and room to spare for what a test writes."""
_BLOCK = bytes(64 * 1024)


class SmallDisk:
    """A tmpfs; what fills it lies beside the data."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self) -> None:
        """Until nothing more can be written: not one byte."""
        with self._ballast.open("ab", buffering=0) as ballast:
            for size in (len(_BLOCK), 4096, 1):
                with contextlib.suppress(_Full):
                    while True:
                        _write(ballast.fileno(), _BLOCK[:size])
        assert self.free_bytes == 0

    def free(self) -> None:
        self._ballast.unlink()

    @property
    def free_bytes(self) -> int:
        return shutil.disk_usage(self.folder).free


class _Full(Exception):
    pass


def _write(descriptor: int, data: bytes) -> None:
    try:
        os.write(descriptor, data)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise _Full from error


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[SmallDisk | None]:
    """None where mounting is not allowed: the reason is printed."""
    folder.mkdir()
    if not _mount(folder):
        yield None
        return
    try:
        yield SmallDisk(folder)
    finally:
        # Lazily: it goes even if something still holds a file of it.
        subprocess.run(["umount", "--lazy", os.fspath(folder)], check=True)


def _mount(folder: Path) -> bool:
    mount = shutil.which("mount")
    if os.geteuid() != 0 or mount is None:
        print("a disk of one's own needs root and mount(8): not here")
        return False
    command = [mount, "-t", "tmpfs", "-o", f"size={_SIZE},mode=0700", "passerelle-test", os.fspath(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        print(f"no disk of one's own: {done.stderr.strip()}")
    return done.returncode == 0
