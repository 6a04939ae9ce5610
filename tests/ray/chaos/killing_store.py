"""A real S3 server that kills a process with SIGKILL when a certain request comes in, or once it is done."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.helpers.object_store import BUCKET, KEY, S3, SECRET

Moment = Literal["before", "after"]


@dataclass(slots=True)
class Hitman:
    """Watches what is written, and strikes once an order is given.

    order: the moment, a part of the object's key, and the number of the write (from 1) to such a key.
    """

    victim: int | None = None
    order: tuple[Moment, str, int] | None = None
    kills: int = 0
    _seen: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def hire(self, order: tuple[Moment, str, int] | None) -> None:
        """Give a new order; writes are counted from now on."""
        with self._lock:
            self.order, self.victim = order, None
            self._seen.clear()

    def see(self, moment: Moment, key: str) -> None:
        """Look at a write that begins or has ended."""
        with self._lock:
            if self.order is None or self.order[0] != moment or self.order[1] not in key:
                return
            self._seen[self.order[1]] += 1
            if self._seen[self.order[1]] == self.order[2] and self.victim is not None:
                os.kill(self.victim, signal.SIGKILL)
                self.kills += 1
                self.order = None


def _watched(application: Any, hitman: Hitman) -> Callable[..., Iterable[bytes]]:
    def call(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        is_write = environ["REQUEST_METHOD"] == "PUT"
        if is_write:
            hitman.see("before", environ["PATH_INFO"])
        answer = list(application(environ, start_response))
        if is_write:
            hitman.see("after", environ["PATH_INFO"])
        return answer

    return call


@contextmanager
def killing_store() -> Iterator[tuple[S3, Hitman]]:
    """The server, and the one who watches it."""
    import boto3
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    hitman = Hitman()
    application = _watched(DomainDispatcherApplication(create_backend_app), hitman)
    server = make_server("127.0.0.1", 0, application, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        client = boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{server.server_port}",
            region_name="us-east-1",
            aws_access_key_id=KEY,
            aws_secret_access_key=SECRET,
        )
        client.create_bucket(Bucket=BUCKET)
        yield S3(port=server.server_port, client=client), hitman
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
