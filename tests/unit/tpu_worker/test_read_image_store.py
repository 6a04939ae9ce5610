"""Images in an object store: a real S3 server, local and empty of everything else."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from urllib.parse import quote

import pytest

from tests.helpers.image_files import encode, landscape
from tpu_worker import read_image as module
from tpu_worker.image_header import ImageError
from tpu_worker.read_image import ReadOptions, read_image

KEYS = ["a.jpg", "folder/photo 1.jpg", "été#2/100%.jpg", "why?.jpg"]


@pytest.fixture(scope="module")
def bucket() -> Iterator[tuple[str, str]]:
    """Root URL of a bucket with an image under each key, and the query that leads to its server."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        server.start()
    host, port = server.get_host_and_port()
    client = boto3.client(
        "s3",
        endpoint_url=f"http://{host}:{port}",
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",  # noqa: S106 - the local server takes any
    )
    client.create_bucket(Bucket="photos")
    for key in KEYS:
        client.put_object(Bucket="photos", Key=key, Body=encode(".jpg", landscape()))
    client.put_object(Bucket="photos", Key="empty.jpg", Body=b"")
    yield "s3://test:test@photos", f"?endpoint_override={host}%3A{port}&scheme=http&region=us-east-1"
    client.close()
    server.stop()


@pytest.mark.parametrize("key", KEYS)
def test_reads_an_object(bucket: tuple[str, str], key: str) -> None:
    root, query = bucket
    assert read_image(f"{root}/{quote(key)}{query}", ReadOptions()).size_hw == (48, 64)


@pytest.mark.parametrize(
    ("key", "reason"), [("gone.jpg", "cannot read the object"), ("empty.jpg", "the file is empty")]
)
def test_an_object_that_is_no_image_has_a_reason(bucket: tuple[str, str], key: str, reason: str) -> None:
    root, query = bucket
    with pytest.raises(ImageError, match=reason):
        read_image(f"{root}/{key}{query}", ReadOptions())


def test_the_store_is_opened_once(bucket: tuple[str, str]) -> None:
    root, query = bucket
    read_image(f"{root}/a.jpg{query}", ReadOptions())
    opened = module._filesystem.cache_info().misses
    for key in KEYS:
        read_image(f"{root}/{quote(key)}{query}", ReadOptions())
    assert module._filesystem.cache_info().misses == opened
