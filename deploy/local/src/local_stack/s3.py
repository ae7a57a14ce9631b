"""The S3 server with object lock (versitygw over plain files), and the bucket that the archive lives in."""

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import urllib3
from minio import Minio
from minio.error import MinioException

from local_stack.environment import HOST, S3_REGION
from local_stack.errors import StackError


class S3Server:
    """One versitygw; objects, versions and locks live in `folder`. It never fsyncs: not for production."""

    def __init__(self, binary: Path, folder: Path, port: int, access_key: str, secret_key: str) -> None:
        self._binary, self._folder, self._port = binary, folder, port
        self._access_key, self._secret_key = access_key, secret_key

    def make(self) -> None:
        """Makes its folders, and checks that the file system has extended attributes: locks are there."""
        for name in ("objects", "versions"):
            (self._folder / name).mkdir(parents=True, exist_ok=True)
        try:
            os.setxattr(self._folder, "user.farthing", b"1")
        except OSError as error:
            raise StackError(
                f"the file system of {self._folder} has no extended attributes ({error.strerror}), "
                "which the S3 server keeps object locks in.\n"
                "  Use a folder on ext4, xfs or btrfs: farthing stack --folder PATH up"
            ) from error

    def argv(self) -> list[str]:
        """The command that runs the server in the foreground."""
        versions = str(self._folder / "versions")
        listen = ("--port", f"{HOST}:{self._port}", "--region", S3_REGION, "--quiet", "--keep-alive")
        return [
            str(self._binary),
            *listen,
            "posix",
            "--versioning-dir",
            versions,
            str(self._folder / "objects"),
        ]

    @property
    def environment(self) -> dict[str, str]:
        """The server's whole environment; the keys are here so that the process list does not show them."""
        return {
            "PATH": os.defpath,
            "LANG": "C.UTF-8",
            "ROOT_ACCESS_KEY": self._access_key,
            "ROOT_SECRET_KEY": self._secret_key,
        }


def client(stack: Mapping[str, str]) -> Minio:
    """A client of the stack's S3 that gives up quickly: it asks whether the server is there."""
    endpoint = urlsplit(stack["S3_ENDPOINT"])
    return Minio(
        endpoint=endpoint.netloc,
        access_key=stack["S3_ACCESS_KEY"],
        secret_key=stack["S3_SECRET_KEY"],
        region=stack["S3_REGION"],
        secure=endpoint.scheme == "https",
        http_client=urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(connect=2, read=10)),
    )


def answers(stack: Mapping[str, str]) -> bool:
    """True if the S3 server lists buckets for our credentials."""
    try:
        client(stack).list_buckets()
    except (MinioException, urllib3.exceptions.HTTPError, OSError):
        return False
    return True


def make_bucket(stack: Mapping[str, str]) -> None:
    """Makes the archive's bucket with object lock enabled. Safe to repeat."""
    bucket = stack["S3_BUCKET"]
    server = client(stack)
    try:
        if not server.bucket_exists(bucket_name=bucket):
            server.make_bucket(bucket_name=bucket, object_lock=True)
    except MinioException as error:
        raise StackError(
            f"the S3 server at {stack['S3_ENDPOINT']} refused to make the bucket {bucket}: {error}"
        ) from error
