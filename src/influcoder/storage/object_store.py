"""The object store. Immutable objects are written once; pointers move by compare-and-swap."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ConnectionError, NoCredentialsError

from influcoder.core.errors import ChangedMeanwhileError, IntegrityError, StoreError
from influcoder.settings.servers import StoreSettings

_ABSENT = ("NoSuchKey", "404", "NotFound")
_CONFLICTS = ("PreconditionFailed", "ConditionalRequestConflict", "412", "409")
# Requests at a time where many small objects are read; the client keeps ten connections.
READERS = 8
# S3 refuses requests that were signed earlier or later than this.
_SKEW = timedelta(minutes=15)
_FULL = ("InsufficientStorage", "507", "QuotaExceeded", "XMinioStorageFull")


class ObjectStore:
    """A bucket, or a prefix of one.

    Raises, from every method:
        StoreError: the endpoint does not answer, credentials are wrong, the bucket is missing, the disk
            behind it is full.
    """

    def __init__(self, settings: StoreSettings) -> None:
        self.bucket = settings.bucket
        self._prefix = f"{settings.prefix.strip('/')}/" if settings.prefix.strip("/") else ""
        self._endpoint = settings.endpoint or "AWS S3"
        with self._errors(""):
            self._client: Any = boto3.client(
                "s3",
                endpoint_url=settings.endpoint,
                region_name=settings.region,
                aws_access_key_id=settings.access_key.get_secret_value() if settings.access_key else None,
                aws_secret_access_key=settings.secret_key.get_secret_value() if settings.secret_key else None,
                config=Config(retries={"max_attempts": 4, "mode": "standard"}, connect_timeout=5, read_timeout=60),
            )

    def uri(self, key: str) -> str:
        """The `s3://` address of a key."""
        return f"s3://{self.bucket}/{self._prefix}{key}"

    def ensure_bucket(self) -> None:
        """Create the bucket where it does not exist yet."""
        with self._errors(self.bucket):
            try:
                self._client.head_bucket(Bucket=self.bucket)
            except ClientError as error:
                if _code(error) not in (*_ABSENT, "NoSuchBucket"):
                    raise
                self._client.create_bucket(Bucket=self.bucket)

    def put(self, key: str, data: bytes, content_type: str = "application/octet-stream") -> None:
        """Write an object that nothing points to yet."""
        self._put(key, data, ContentType=content_type)

    def keep(self, key: str, data: bytes) -> bool:
        """Write an object once; whether this call wrote it. Where it is there already, its bytes are left alone.

        A put whose answer got lost is sent again and finds itself: that reads as written by somebody else.
        """
        try:
            self._put(key, data, IfNoneMatch="*")
        except ChangedMeanwhileError:
            return False
        return True

    def swap(self, key: str, data: bytes, expected: str | None) -> str:
        """Replace an object only where it is still the version that the caller read; the version that it is then.

        Args:
            expected: the version that `read` gave, or None where the object must not exist.
        Raises:
            ChangedMeanwhileError: somebody else was quicker.
        """
        condition = {"IfMatch": expected} if expected else {"IfNoneMatch": "*"}
        try:
            return self._put(key, data, **condition)
        except ChangedMeanwhileError:
            # A put whose answer got lost is sent again, and then finds itself.
            found, version = self.read_if_there(key)
            if found != data or version is None:
                raise
            return version

    def get(self, key: str) -> bytes:
        """The bytes of an object."""
        return self.read(key)[0]

    def read(self, key: str) -> tuple[bytes, str]:
        """The bytes of an object and its version, for `swap`.

        Raises:
            IntegrityError: there is no such object, or its bytes do not match the stored checksum.
        """
        with self._errors(key):
            answer = self._client.get_object(Bucket=self.bucket, Key=self._prefix + key, ChecksumMode="ENABLED")
            return answer["Body"].read(), answer["ETag"]

    def read_if_there(self, key: str) -> tuple[bytes | None, str | None]:
        """Like `read`, but two Nones where there is no such object."""
        return self.read(key) if self.exists(key) else (None, None)

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """`length` bytes from `start` on."""
        with self._errors(key):
            span = f"bytes={start}-{start + length - 1}"
            return bytes(self._client.get_object(Bucket=self.bucket, Key=self._prefix + key, Range=span)["Body"].read())

    def age(self, key: str) -> float:
        """Seconds since an object was written, by the store's own clock alone: those of its clients may differ.

        Raises:
            IntegrityError: there is no such object.
        """
        with self._errors(key):
            answer = self._client.head_object(Bucket=self.bucket, Key=self._prefix + key)
            said = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
            return float((said - answer["LastModified"]).total_seconds())

    def delete(self, key: str) -> None:
        """Delete an object; one that is not there is no error."""
        with self._errors(key):
            self._client.delete_object(Bucket=self.bucket, Key=self._prefix + key)

    def exists(self, key: str) -> bool:
        """Whether an object is there."""
        with self._errors(key):
            try:
                self._client.head_object(Bucket=self.bucket, Key=self._prefix + key)
            except ClientError as error:
                if _code(error) in _ABSENT:
                    return False
                raise
            return True

    def keys(self, prefix: str) -> Iterator[str]:
        """Keys below a prefix, in their order."""
        with self._errors(prefix):
            pages = self._client.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self.bucket, Prefix=self._prefix + prefix):
                for entry in page.get("Contents", []):
                    yield entry["Key"].removeprefix(self._prefix)

    def older(self, prefix: str, seconds: float) -> list[str]:
        """Keys below a prefix whose objects were written so long ago, by the store's own clock alone."""
        found = []
        with self._errors(prefix):
            pages = self._client.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self.bucket, Prefix=self._prefix + prefix):
                said = parsedate_to_datetime(page["ResponseMetadata"]["HTTPHeaders"]["date"])
                entries = page.get("Contents", [])
                found += [e["Key"] for e in entries if (said - e["LastModified"]).total_seconds() >= seconds]
        return [key.removeprefix(self._prefix) for key in found]

    def listing(self, prefix: str) -> list[tuple[str, int, str]]:
        """Key, size in bytes and entity tag of what lies below a prefix, in the keys' order."""
        with self._errors(prefix):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=self._prefix + prefix
            )
            found = [entry for page in pages for entry in page.get("Contents", [])]
        return [(e["Key"].removeprefix(self._prefix), int(e["Size"]), str(e["ETag"]).strip('"')) for e in found]

    def fetch(self, key: str, path: Path) -> None:
        """Write an object into a file, without holding it in memory."""
        with self._errors(key):
            self._client.download_file(self.bucket, self._prefix + key, str(path))

    def link(self, key: str, seconds: int = 7 * 24 * 3600) -> str:
        """A signed URL that a browser can open for a while."""
        parameters = {"Bucket": self.bucket, "Key": self._prefix + key}
        return str(self._client.generate_presigned_url("get_object", Params=parameters, ExpiresIn=seconds))

    def _put(self, key: str, data: bytes, **options: Any) -> str:
        with self._errors(key):
            answer = self._client.put_object(
                Bucket=self.bucket, Key=self._prefix + key, Body=data, ChecksumAlgorithm="SHA256", **options
            )
            return str(answer["ETag"])

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        try:
            yield
        except ClientError as error:
            raise self._translated(error, what) from error
        except NoCredentialsError as error:
            raise StoreError(
                "there are no S3 credentials.", "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
            ) from error
        except ConnectionError as error:
            raise silent_store(self._endpoint) from error
        except BotoCoreError as error:
            if "checksum" in str(error).lower():
                raise IntegrityError(f"{self.uri(what)} does not match its checksum.", "Restore it.") from error
            raise StoreError(f"S3 at {self._endpoint}: {error}") from error

    def _translated(self, error: ClientError, what: str) -> StoreError:
        code = _code(error)
        if code in _CONFLICTS:
            return ChangedMeanwhileError(f"{self.uri(what)} was changed by somebody else.", "Read it again.")
        if code == "NoSuchBucket":
            return StoreError(f"bucket {self.bucket!r} does not exist at {self._endpoint}.", "Run: influcoder up")
        if code == "InvalidRange":
            return IntegrityError(f"{self.uri(what)} is shorter than it was when it was written.", "Restore it.")
        if code in _ABSENT:
            return IntegrityError(f"{self.uri(what)} is not there.")
        if _clocks_differ(error):
            return StoreError(
                f"this machine's clock and that of S3 at {self._endpoint} are more than 15 minutes apart.",
                "Set the clock (NTP), then run the same step again.",
            )
        if code in _FULL:
            return StoreError(f"the disk behind {self._endpoint} is full.", "Free space, then run the same step again.")
        return StoreError(f"S3 at {self._endpoint} refused {what}: {error.response['Error'].get('Message') or code}")


def silent_store(endpoint: str) -> StoreError:
    """What to say of an endpoint that does not answer."""
    return StoreError(f"S3 at {endpoint} does not answer.", "Is the stack up? Run: influcoder up")


def sha256(data: bytes) -> str:
    """SHA-256 as hex."""
    return hashlib.sha256(data).hexdigest()


def _clocks_differ(error: ClientError) -> bool:
    """Whether a request was refused for its time; the answer to a HEAD says so only by its own."""
    answer = error.response.get("ResponseMetadata", {})
    said = answer.get("HTTPHeaders", {}).get("date")
    refused = answer.get("HTTPStatusCode") == 403
    return bool(refused and said and abs(parsedate_to_datetime(said) - datetime.now(UTC)) > _SKEW)


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
