"""Does this object store really lock? Tried before first use; several servers say so and do not.

Each check tries what somebody who wants a document gone would try. The probe's objects are locked for an hour
and a few bytes each; nobody can remove them before, which is the point.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from minio import Minio
from minio.commonconfig import GOVERNANCE
from minio.deleteobjects import DeleteObject
from minio.retention import Retention
from minio.versioningconfig import SUSPENDED, VersioningConfig
from servicekit.ids import new_id

from documents.archive import Archive, ArchiveDown, ArchiveRefused, Endpoint, s3_errors

_RETENTION = timedelta(hours=1)
_CONTENT = b"Farthing asks: can this be deleted?\n"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was tried. `ok` is whether the store did what an archive needs; `found` is what it did."""

    name: str
    ok: bool
    found: str


class _Broken(Exception):  # noqa: N818
    """The store let something happen that an archive must not."""


def probe(endpoint: Endpoint, now: datetime) -> list[Check]:
    """Every check, in order. A store that fails one must not be used. Raises ArchiveDown where it does not answer."""
    archive = Archive(endpoint)
    archive.make_bucket()
    client = endpoint.client(connections=1)
    key = f".probe/{new_id()}"
    until = now + _RETENTION
    try:
        put = archive.put(key, _CONTENT, until)
    except ArchiveRefused as refusal:
        return [Check("locked put is accepted and gets a version", False, str(refusal))]
    trial = _Trial(archive, client, endpoint.bucket, key, put.object_version, until)
    checks = [Check("locked put is accepted and gets a version", True, f"version {put.object_version}")]
    return checks + [_tried(name, attempt) for name, attempt in trial.attempts()]


def _tried(name: str, attempt: Callable[[], str]) -> Check:
    try:
        return Check(name, True, attempt())
    except _Broken as broken:
        return Check(name, False, str(broken))
    except ArchiveRefused as refusal:
        return Check(name, False, f"could not be tried: {refusal}")


@dataclass(frozen=True, slots=True)
class _Trial:
    archive: Archive
    client: Minio
    bucket: str
    key: str
    version: str
    until: datetime

    def attempts(self) -> list[tuple[str, Callable[[], str]]]:
        return [
            ("the lock reads COMPLIANCE until its date", self._reads_back),
            ("deleting the version is refused", self._delete_version),
            ("deleting the version in a batch is refused", self._delete_batch),
            ("deleting the version with governance bypass is refused", self._delete_with_bypass),
            ("a shorter retention is refused", self._shorten),
            ("a shorter retention with governance bypass is refused", self._shorten_with_bypass),
            ("a change to governance mode is refused", self._to_governance),
            ("a longer retention is accepted", self._lengthen),
            ("versioning cannot be suspended", self._suspend_versioning),
            ("a second put makes another version and leaves the first", self._overwrite),
            ("a plain delete hides the object and leaves the version", self._delete_plain),
            ("the locked bytes are still there", self._still_there),
        ]

    def _must_refuse(self, what: str, attempt: Callable[[], object]) -> str:
        try:
            with s3_errors():
                attempt()
        except ArchiveRefused as refusal:
            return f"refused with {refusal.code}"
        except ArchiveDown as down:
            # A refusal by a fault (5xx) keeps the object as well, if it is still there.
            self._still_there()
            return f"refused with a fault ({down})"
        raise _Broken(f"the store accepted {what}")

    def _reads_back(self) -> str:
        found = self.archive.retained_until(self.key, self.version)
        if found is None:
            raise _Broken("the version is not under COMPLIANCE retention")
        if abs(found - self.until) > timedelta(seconds=1):
            raise _Broken(f"the lock ends at {found.isoformat()}, not at {self.until.isoformat()}")
        return f"until {found.isoformat()}"

    def _delete_version(self) -> str:
        return self._must_refuse(
            "the delete",
            lambda: self.client.remove_object(bucket_name=self.bucket, object_name=self.key, version_id=self.version),
        )

    def _delete_batch(self) -> str:
        with s3_errors():
            results = list(
                self.client.remove_objects(
                    bucket_name=self.bucket,
                    delete_object_list=[DeleteObject(self.key, self.version)],
                    bypass_governance_mode=True,
                )
            )
        if not results:
            raise _Broken("the store accepted the batch delete")
        return f"refused with {results[0].code}"

    def _delete_with_bypass(self) -> str:
        return self._must_refuse(
            "the delete",
            lambda: self.client._execute(
                "DELETE",
                self.bucket,
                self.key,
                headers={"x-amz-bypass-governance-retention": "true"},
                query_params={"versionId": self.version},
            ),
        )

    def _shorten(self) -> str:
        return self._must_refuse("the shorter retention", lambda: self._shorter(bypass=False))

    def _shorten_with_bypass(self) -> str:
        return self._must_refuse("the shorter retention", lambda: self._shorter(bypass=True))

    def _shorter(self, *, bypass: bool) -> None:
        self.archive.retain(self.key, self.version, self.until - _RETENTION / 2, bypass=bypass)

    def _to_governance(self) -> str:
        return self._must_refuse(
            "governance mode",
            lambda: self.client.set_object_retention(
                bucket_name=self.bucket,
                object_name=self.key,
                config=Retention(GOVERNANCE, self.until),
                version_id=self.version,
            ),
        )

    def _lengthen(self) -> str:
        longer = self.until + timedelta(minutes=1)
        self.archive.retain(self.key, self.version, longer)
        found = self.archive.retained_until(self.key, self.version)
        if found is None or abs(found - longer) > timedelta(seconds=1):
            raise _Broken(f"the lock ends at {found}, not at {longer.isoformat()}")
        return f"until {found.isoformat()}"

    def _suspend_versioning(self) -> str:
        return self._must_refuse(
            "the suspension",
            lambda: self.client.set_bucket_versioning(bucket_name=self.bucket, config=VersioningConfig(SUSPENDED)),
        )

    def _overwrite(self) -> str:
        # Other bytes, so that it cannot be taken for the same object.
        second = self.archive.put(self.key, _CONTENT * 2, self.until)
        if second.object_version == self.version:
            raise _Broken("the store gave both puts the same version")
        return f"version {second.object_version} beside it, {self._still_there()}"

    def _delete_plain(self) -> str:
        try:
            with s3_errors():
                self.client.remove_object(bucket_name=self.bucket, object_name=self.key)
        except ArchiveRefused as refusal:
            return f"refused with {refusal.code}"
        return self._still_there()

    def _still_there(self) -> str:
        expected = hashlib.sha256(_CONTENT).digest()
        try:
            found = self.archive.sha256_of(self.key, self.version)
        except ArchiveRefused as refusal:
            raise _Broken(f"the locked version is gone: {refusal}") from refusal
        if found != expected:
            raise _Broken(f"the locked version has SHA-256 {found.hex()}, not {expected.hex()}")
        return "the version is there with its hash"
