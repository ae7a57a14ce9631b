"""The archive: an S3 bucket with object lock. Everything in it is under COMPLIANCE retention and known by its version.

Blocking calls of the `minio` SDK; the event loop runs them in threads. What differs between servers (AWS, Ceph,
versitygw) is known here alone.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, urlsplit

import urllib3
from minio import Minio
from minio.commonconfig import COMPLIANCE
from minio.error import MinioException, S3Error
from minio.helpers import genheaders
from minio.retention import Retention
from minio.xml import marshal

from documents.domain import MEDIA_TYPE, Archived

PIECE_BYTES = 64 * 1024
_SHA256_METADATA = "x-amz-meta-sha256"
_YEAR_DAYS = 365.25


class ArchiveDown(Exception):  # noqa: N818 - the word operators use
    """The object store does not answer, or answers with a fault of its own; a later try may succeed."""


class ArchiveRefused(Exception):  # noqa: N818
    """The object store refused: `code` is S3's, such as `AccessDenied`, `NoSuchKey`, `PreconditionFailed`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


class ArchiveDamaged(Exception):  # noqa: N818
    """The bytes in the archive are not the ones that were put there."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where an object store is, and who we are there. `url` such as `https://s3.example.com`."""

    url: str
    access_key: str
    secret_key: str
    region: str
    bucket: str
    timeout_s: float = 10.0

    def client(self, connections: int = 16) -> Minio:
        """A client without retries of its own: the jobs that use it come back by themselves."""
        address = urlsplit(self.url)
        if address.scheme not in ("http", "https") or not address.netloc:
            raise ValueError(f"the S3 endpoint {self.url!r} is no address; give one such as https://s3.example.com")
        return Minio(
            endpoint=address.netloc,
            access_key=self.access_key,
            secret_key=self.secret_key,
            region=self.region,
            secure=address.scheme == "https",
            http_client=urllib3.PoolManager(
                maxsize=connections,
                block=False,
                retries=False,
                timeout=urllib3.Timeout(connect=min(3.0, self.timeout_s), read=self.timeout_s),
            ),
        )


def years(count: float) -> timedelta:
    """Retention periods, in years of 365.25 days."""
    return timedelta(days=count * _YEAR_DAYS)


def _md5(content: bytes) -> str:
    """As the header Content-MD5 wants it (RFC 1864); a checksum of the transfer, not a proof."""
    return base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()


class Archive:
    """One bucket. `public_url` is the address callers reach it under (for links)."""

    def __init__(self, endpoint: Endpoint, *, public_url: str = "") -> None:
        self.endpoint = endpoint
        self._client = endpoint.client()
        self._bucket = endpoint.bucket
        public = Endpoint(
            public_url or endpoint.url, endpoint.access_key, endpoint.secret_key, endpoint.region, endpoint.bucket
        )
        self._public = public.client(connections=1)

    def make_bucket(self) -> None:
        """Makes the bucket with object lock where it is missing."""
        with s3_errors():
            if not self._client.bucket_exists(bucket_name=self._bucket):
                self._client.make_bucket(bucket_name=self._bucket, object_lock=True)

    def put(self, key: str, content: bytes, retain_until: datetime, *, maybe_there: bool = False) -> Archived:
        """Puts `content` under lock and says where it is; a second put of the same bytes gives the first's version.

        `maybe_there` looks for an earlier put first; where the server knows `If-None-Match` (not Ceph), the put
        itself refuses to be the second. An object of other bytes under the key stays, and ours becomes another version.
        """
        retain_until = retain_until.replace(microsecond=0)
        sha256 = hashlib.sha256(content).digest()
        if maybe_there and (found := self._find(key, sha256, len(content))):
            return found
        try:
            version = self._put(key, content, sha256, retain_until, only_if_absent=True)
        except ArchiveRefused as refusal:
            if refusal.code not in ("PreconditionFailed", "ConditionalRequestConflict"):
                raise
            if found := self._find(key, sha256, len(content)):
                return found
            version = self._put(key, content, sha256, retain_until, only_if_absent=False)
        return Archived(version, sha256, len(content), retain_until)

    def _put(self, key: str, content: bytes, sha256: bytes, retain_until: datetime, *, only_if_absent: bool) -> str:
        headers = genheaders(
            {"Content-Type": MEDIA_TYPE, _SHA256_METADATA: sha256.hex()},
            None,
            None,
            Retention(COMPLIANCE, retain_until),
            False,
        )
        # S3 asks for a checksum on a locked put, which the SDK sends over https alone, and its `put_object` takes
        # no conditions: hence the call beneath it.
        headers["Content-MD5"] = _md5(content)
        if only_if_absent:
            headers["If-None-Match"] = "*"
        with s3_errors():
            result = self._client._put_object(self._bucket, key, content, headers)
        if not result.version_id or result.version_id == "null":
            raise ArchiveRefused(
                "NoVersion", f"the bucket {self._bucket} has no versions; make it with object lock enabled"
            )
        return str(result.version_id)

    def _find(self, key: str, sha256: bytes, size_bytes: int) -> Archived | None:
        """The oldest version under the key that has these bytes and a lock."""
        with s3_errors():
            versions = [
                found
                for found in self._client.list_objects(bucket_name=self._bucket, prefix=key, include_version=True)
                if found.object_name == key and not found.is_delete_marker and found.size == size_bytes
            ]
        for found in sorted(versions, key=lambda version: version.last_modified):
            version = str(found.version_id)
            if self.sha256_of(key, version) != sha256:
                continue
            retained_until = self.retained_until(key, version)
            if retained_until is not None:
                return Archived(version, sha256, size_bytes, retained_until)
        return None

    def pieces(self, key: str, version: str) -> Iterator[bytes]:
        """The object's bytes as they are, in pieces of at most 64 KiB."""
        with s3_errors():
            response = self._client.get_object(bucket_name=self._bucket, object_name=key, version_id=version)
            with closing(response):
                yield from response.stream(PIECE_BYTES)
                # Only a connection that was read to its end can be used again.
                response.release_conn()

    def verified_pieces(self, key: str, version: str, sha256: bytes) -> Iterator[bytes]:
        """As `pieces`; raises ArchiveDamaged instead of the last piece where the whole does not have this hash."""
        digest = hashlib.sha256()
        held: bytes | None = None
        for piece in self.pieces(key, version):
            digest.update(piece)
            if held is not None:
                yield held
            held = piece
        if digest.digest() != sha256:
            raise ArchiveDamaged(
                f"{key} (version {version}) has SHA-256 {digest.hexdigest()}, not {sha256.hex()} as archived"
            )
        if held is not None:
            yield held

    def read(self, key: str, version: str, sha256: bytes) -> bytes:
        """The whole object; raises ArchiveDamaged where it does not have this hash."""
        return b"".join(self.verified_pieces(key, version, sha256))

    def sha256_of(self, key: str, version: str) -> bytes:
        """The hash of the bytes that are there now."""
        digest = hashlib.sha256()
        for piece in self.pieces(key, version):
            digest.update(piece)
        return digest.digest()

    def retained_until(self, key: str, version: str) -> datetime | None:
        """Until when nobody can delete this version; None where it is not under COMPLIANCE retention."""
        with s3_errors():
            try:
                retention = self._client.get_object_retention(
                    bucket_name=self._bucket, object_name=key, version_id=version
                )
            except ValueError:
                # Ceph writes nine digits of a second, which the SDK cannot read; the header has them differently.
                return self._retained_until_header(key, version)
        if retention is None or retention.mode != COMPLIANCE:
            return None
        until: datetime = retention.retain_until_date
        return until.replace(tzinfo=UTC) if until.tzinfo is None else until.astimezone(UTC)

    def _retained_until_header(self, key: str, version: str) -> datetime | None:
        found = self._client.stat_object(bucket_name=self._bucket, object_name=key, version_id=version)
        metadata: Mapping[str, str] = found.metadata or {}
        if metadata.get("x-amz-object-lock-mode") != COMPLIANCE:
            return None
        text = str(metadata["x-amz-object-lock-retain-until-date"])
        return datetime.fromisoformat(text[:19]).replace(tzinfo=UTC)

    def retain(self, key: str, version: str, until: datetime, *, bypass: bool = False) -> None:
        """Locks for longer. ArchiveRefused where it would be shorter, also with `bypass` (of governance mode)."""
        body = marshal(Retention(COMPLIANCE, until))
        headers: dict[str, str | list[str] | tuple[str]] = {"Content-MD5": _md5(body)}
        if bypass:
            headers["x-amz-bypass-governance-retention"] = "true"
        with s3_errors():
            self._client._execute(
                "PUT",
                self._bucket,
                key,
                body=body,
                headers=headers,
                query_params={"versionId": version, "retention": ""},
            )

    def link(self, key: str, version: str, name: str, expires_in: timedelta) -> str:
        """A URL that gives this version to whoever has it, as a download called `name`. Asks nobody."""
        disposition = f"attachment; filename*=UTF-8''{quote(name)}"
        url = self._public.get_presigned_url(
            method="GET",
            bucket_name=self._bucket,
            object_name=key,
            expires=expires_in,
            version_id=version,
            response_headers={"response-content-disposition": disposition},
        )
        return str(url)


@contextmanager
def s3_errors() -> Iterator[None]:
    """Turns the SDK's many errors into ours: ArchiveDown (worth another try) or ArchiveRefused."""
    try:
        yield
    except S3Error as error:
        status = getattr(error.response, "status", 0) or 0
        if status >= 500 or error.code in ("SlowDown", "RequestTimeout"):
            raise ArchiveDown(f"the object store has a fault: {error.code} {error.message}") from error
        raise ArchiveRefused(str(error.code), str(error.message)) from error
    except (MinioException, urllib3.exceptions.HTTPError, OSError) as error:
        raise ArchiveDown(f"the object store does not answer: {error}") from error
