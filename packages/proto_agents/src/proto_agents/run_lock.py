"""One process per run folder: a lock file that says who holds it."""

import json
import os
import socket
from pathlib import Path
from types import TracebackType

from proto_agents.checkpoint import CheckpointError

__all__ = ["LOCK_FILE", "RunLock"]

LOCK_FILE = "run.lock"


class RunLock:
    """Holds a run folder while a run writes into it. A context manager; a lock whose process is gone is taken over.

    Whether a process on another host lives cannot be seen: its lock is respected, unless runs are `scheduled`: who
    starts them anew elsewhere knows that they have ended.
    """

    def __init__(self, folder: Path, *, scheduled: bool = False) -> None:
        self.path = folder / LOCK_FILE
        self.scheduled = scheduled

    def __enter__(self) -> "RunLock":
        """Takes the lock.

        Raises:
            CheckpointError: a run that lives, or one on another host, holds it; or it cannot be written.
        """
        text = json.dumps({"pid": os.getpid(), "host": socket.gethostname()})
        own = self.path.with_name(f".{LOCK_FILE}.{os.getpid()}")
        try:
            own.write_text(text, encoding="utf-8")
            self._claim(own)
        except OSError as error:
            raise CheckpointError(f"cannot lock the run folder {self.path.parent}: {error}") from error
        finally:
            own.unlink(missing_ok=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.path.unlink(missing_ok=True)

    def _claim(self, own: Path) -> None:
        try:
            os.link(own, self.path)  # complete from the first moment, and only one can make it
        except OSError:  # it exists, or the file system has no links
            self._refuse_if_held()
            os.replace(own, self.path)

    def _refuse_if_held(self) -> None:
        try:
            holder = json.loads(self.path.read_text(encoding="utf-8"))
            pid, host = int(holder["pid"]), str(holder["host"])
        except (OSError, ValueError, KeyError, TypeError):
            return  # nobody's: it went away meanwhile, or is no lock
        if host == socket.gethostname():
            if pid == os.getpid() or not _lives(pid):
                return
        elif self.scheduled:
            return
        raise CheckpointError(
            f"{self.path.parent} is in use by process {pid} on {host}; wait for it or choose another run folder. "
            f"If that process is gone, delete {self.path}"
        )


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
