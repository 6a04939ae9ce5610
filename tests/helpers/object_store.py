"""A real S3 server on this machine, for tests."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

BUCKET = "raysail"
KEY, SECRET = "a-key-of-the-tests", "and/its+secret"


@dataclass(frozen=True, kw_only=True, slots=True)
class S3:
    """port: where the server listens on loopback. client: a client of its own kind, to look behind the curtain."""

    port: int
    client: Any

    def url(self, path: str) -> str:
        """The URL of an object or prefix with all that a stranger needs to open it."""
        login = f"{quote(KEY, safe='')}:{quote(SECRET, safe='')}"
        query = f"scheme=http&endpoint_override=127.0.0.1%3A{self.port}&region=us-east-1"
        return f"s3://{login}@{BUCKET}/{path}?{query}"

    def put(self, key: str, data: bytes) -> None:
        self.client.put_object(Bucket=BUCKET, Key=key, Body=data)

    def get(self, key: str) -> bytes:
        return bytes(self.client.get_object(Bucket=BUCKET, Key=key)["Body"].read())

    def keys(self, prefix: str) -> list[str]:
        """Every object below a prefix, without it."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return [entry["Key"].removeprefix(prefix) for page in pages for entry in page.get("Contents", [])]

    def parts(self, folder: str) -> list[str]:
        """The Parquet objects right below a prefix, in order; pyarrow keeps an empty one for the folder beside them."""
        return sorted(key for key in self.keys(f"{folder}/") if key.endswith(".parquet"))

    def delete(self, key: str) -> None:
        self.client.delete_object(Bucket=BUCKET, Key=key)

    def upload(self, folder: Path, prefix: str) -> None:
        """Every file below a folder."""
        for path in folder.rglob("*"):
            if path.is_file():
                self.put(f"{prefix}/{path.relative_to(folder).as_posix()}", path.read_bytes())


@contextmanager
def s3_server() -> Iterator[S3]:
    import boto3
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        _, port = server.get_host_and_port()
        client = boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{port}",
            region_name="us-east-1",
            aws_access_key_id=KEY,
            aws_secret_access_key=SECRET,
        )
        client.create_bucket(Bucket=BUCKET)
        yield S3(port=port, client=client)
    finally:
        server.stop()
