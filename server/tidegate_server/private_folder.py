"""Keeps a data folder to its owner: it has the secret key, and everything that is configured."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from tidegate_server.errors import StartupRefused

OTHERS = 0o077
"""What the group and everybody else may do."""

UMASK = OTHERS
"""Files are made for their owner only."""

_OURS = re.compile(
    r"lock|store\.lock|secret\.key(\..*)?|valkey\.(log|sock)|appendonlydir|dump\.rdb|lost\+found"
)


def private_opener(path: str, flags: int) -> int:
    """Open a file, made for its owner only whatever the umask is: an ``opener`` of ``open``."""
    return os.open(path, flags, 0o600)


def make_private(folder: Path) -> int | None:
    """Let nobody but its owner into a data folder that exists, and into what is in it.

    Returns:
        The folder's mode before, if others had access; None if they had not.

    Raises:
        StartupRefused: others have access, and taking it away could hurt what is not Tidegate's,
            or is not allowed.
        OSError: the folder cannot be read.
    """
    status = folder.stat()
    mode = stat.S_IMODE(status.st_mode)
    if not mode & OTHERS:
        return None
    foreign = [each.name for each in folder.iterdir() if not _OURS.fullmatch(each.name)]
    if foreign or mode & stat.S_ISVTX:
        what = f"has other files ({sorted(foreign)[0]!r})" if foreign else "is a shared folder"
        raise StartupRefused(
            f"The data folder {folder} is open to other users (mode {mode:o}) and {what}. Set "
            f"TIDEGATE_DATA_DIR to a folder for Tidegate alone, or run: chmod 700 {folder}"
        )
    try:
        folder.chmod(0o700)
    except PermissionError:
        # A volume that its mount gives to a group, as in Kubernetes, belongs to root.
        if status.st_uid == 0 and not mode & stat.S_IWOTH:
            return None
        raise StartupRefused(
            f"The data folder {folder} belongs to another user and is open to others (mode "
            f"{mode:o}). Give it to the user who runs Tidegate, and run: chmod 700 {folder}"
        ) from None
    for path in (*folder.iterdir(), *(folder / "appendonlydir").glob("*")):
        _make_file_private(path)
    return mode


def _make_file_private(path: Path) -> None:
    status = path.lstat()
    if status.st_uid == os.getuid() and not stat.S_ISLNK(status.st_mode):
        path.chmod(stat.S_IMODE(status.st_mode) & ~OTHERS)
