"""Commits on a thread of its own, so that writing never keeps a card waiting for its next shard."""

from __future__ import annotations

import queue
import threading
from types import TracebackType

from cluster.results import ShardResult
from cluster.work import Shard
from jobs.commit import CommitLog

QUEUE_LENGTH = 32


class Committer:
    """Takes results in any order; `put` blocks while the disk is behind. An error is raised by the next call."""

    def __init__(self, log: CommitLog) -> None:
        self._log = log
        self._queue: queue.Queue[tuple[Shard, ShardResult, int] | None] = queue.Queue(QUEUE_LENGTH)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="committer", daemon=True)

    def __enter__(self) -> Committer:  # noqa: PYI034 - Self is not in Python 3.10
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Commit what is queued, whatever ended the block."""
        self._queue.put(None)
        self._thread.join()
        if kind is None:
            self._raise_error()

    def put(self, shard: Shard, result: ShardResult, attempt: int) -> None:
        """Queue a shard's rows."""
        self._raise_error()
        self._queue.put((shard, result, attempt))

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            if self._error is not None:
                continue  # drain, so that `put` never blocks for ever
            try:
                self._log.add(*item)
            except Exception as error:  # noqa: BLE001 - handed to the job's thread
                self._error = error
