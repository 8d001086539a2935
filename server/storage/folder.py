"""The data folder: made for its owner alone, and used by one process at a time.

Two processes on one SQLite file, each with a bus of its own, would each show their people half of
what is written. The lock dies with the process, however it dies; children do not inherit it.
"""

import errno
import fcntl
import os
from pathlib import Path

from rooms.ports import StoreUnavailable

LOCK_FILE = "passerelle.lock"


class FolderInUse(StoreUnavailable):
    """Another Passerelle process has this data folder."""


def make_private_folder(folder: Path) -> None:
    """0700 where it is made here; one that is there keeps the mode its owner gave it. What is made outlives a power
    cut: a folder's name is in its parent, which is written to the disk when it is asked to be (fsync(2)).
    Raises: OSError."""
    made = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for one in made:
        _keep_names(one.parent)


def make_private_file(path: Path) -> None:
    """An empty file of mode 0600, unless it is there. SQLite gives its -wal and -shm the same mode.
    Raises: OSError."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    path.chmod(0o600)
    _keep_names(path.parent)


def _keep_names(folder: Path) -> None:
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except PermissionError:
        return  # one may make files in it and not read it: it is somebody else's to keep
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some file systems keep names by themselves
            raise
    finally:
        os.close(descriptor)


class FolderLock:
    """POSIX record lock (fcntl) on a file of the folder; held from `take` to `release`."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOCK_FILE
        self._descriptor: int | None = None

    def take(self) -> None:
        """Raises: FolderInUse; OSError."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise FolderInUse(f"another process has the folder {self._path.parent}") from None
        except OSError:
            os.close(descriptor)
            raise
        self._descriptor = descriptor

    def release(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)
