"""One lock file per card, so that no two workers of a host ever open one, whoever started them.

Ray's resources keep the jobs of a cluster apart; the lock also holds against a second cluster on the host. It belongs
to the open file: it is gone when its process is, however that ended.
"""

from __future__ import annotations

import fcntl
import os
import re
from contextlib import suppress
from pathlib import Path

from bmodel.errors import CardTakenError, DeviceError
from bmodel.files import lock, lock_signature, sign_lock

# Not the environment's TMPDIR: two programs with folders of their own would not see each other's locks.
LOCK_FOLDER = Path("/tmp/raysail-cards")  # noqa: S108 - links in it are not followed, nothing in it is trusted
_TAKEN = re.compile(r" must be free, and (.*) holds it$")


def real_card_lock_path(device_id: int) -> Path:
    """The lock of a real card: one per host, in a folder that every user of the host shares."""
    return LOCK_FOLDER / f"bm1684-{device_id}.lock"


def virtual_card_lock_path(session_dir: Path, node_id: str, device_id: int, *, job_id: str | None) -> Path:
    """The lock of a virtual card: one per Ray session, node and device, and per job where no resource keeps jobs apart."""
    owner = f"-{job_id}" if job_id else ""
    return session_dir / "raysail-cards" / f"{node_id}-{device_id}{owner}.lock"


def lock_holder(path: Path) -> str | None:
    """Who holds a card's lock; None when nobody does.

    The question shares a free lock for an instant, so that whoever takes it in that instant has to wait.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return lock_signature(descriptor)
    finally:
        os.close(descriptor)
    return None


def holder_named_by(error: CardTakenError) -> str:
    """Who holds the card, from the message of a `CardLock`'s error: nothing else of it comes through Ray."""
    match = _TAKEN.search(str(error))
    return match[1] if match else "an unknown process"


class CardLock:
    """Holds a card's lock file from construction to `release`.

    Raises CardTakenError, which names the holder, if it is taken, and DeviceError if there can be no such file.
    """

    def __init__(self, path: Path, *, wait_s: float = 10.0) -> None:
        """Take the lock; a holder that was just killed may need a moment to let go, so wait up to wait_s seconds."""
        self.path = path
        try:
            self._descriptor = _open_for_everybody(path)
        except OSError as error:
            raise DeviceError(f"card lock '{path}' cannot be opened: {error.strerror}") from error
        if not lock(self._descriptor, wait_s=wait_s):
            holder = lock_signature(self._descriptor)
            os.close(self._descriptor)
            raise CardTakenError(f"card lock '{path}' must be free, and {holder} holds it")
        sign_lock(self._descriptor)

    def release(self) -> None:
        """Let go of the card; safe to call again."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _open_for_everybody(path: Path) -> int:
    """Open a lock file that any user of the host may have made, or make it for all of them."""
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
    if not path.parent.is_dir():
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(PermissionError):  # another user made it meanwhile
            path.parent.chmod(0o1777)
    try:
        # Without O_CREAT: Linux refuses that on another user's file in a folder like this one.
        return os.open(path, flags)
    except FileNotFoundError:
        pass
    try:
        descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:
        return os.open(path, flags)
    os.fchmod(descriptor, 0o666)  # whatever the umask says
    return descriptor
