"""The object store. Immutable objects are written once; pointers move by compare-and-swap."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ConnectionError, NoCredentialsError

from influcoder.core.errors import AbsentError, ChangedMeanwhileError, IntegrityError, StoreError
from influcoder.settings.servers import StoreSettings
from influcoder.storage.s3_errors import ABSENT, code_of, refused, silent_store

# Requests at a time where many small objects are read: a store far away answers many at once.
READERS = 16
# As many as the largest default pool of threads, and no fewer than readers.
_CONNECTIONS = 32


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
                config=Config(
                    retries={"max_attempts": 4, "mode": "standard"},
                    connect_timeout=5,
                    read_timeout=60,
                    max_pool_connections=_CONNECTIONS,
                ),
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
                if code_of(error) not in (*ABSENT, "NoSuchBucket"):
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
        except AbsentError as error:
            raise ChangedMeanwhileError(f"{self.uri(key)} was deleted by somebody else.", "Read it again.") from error
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
        try:
            return self.read(key)
        except AbsentError:
            return None, None

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
            return _age(answer, answer["LastModified"])

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
                if code_of(error) in ABSENT:
                    return False
                raise
            return True

    def keys(self, prefix: str) -> Iterator[str]:
        """Keys below a prefix, in their order."""
        for key, _, _ in self._entries(prefix):
            yield key

    def older(self, prefix: str, seconds: float) -> list[str]:
        """Keys below a prefix whose objects were written so long ago, by the store's own clock alone."""
        return [key for key, age, _ in self._entries(prefix) if age >= seconds]

    def listing(self, prefix: str) -> list[tuple[str, int, str]]:
        """Key, size in bytes and entity tag of what lies below a prefix, in the keys' order."""
        return [(key, int(e["Size"]), str(e["ETag"]).strip('"')) for key, _, e in self._entries(prefix)]

    def fetch(self, key: str, path: Path) -> None:
        """Write an object into a file, without holding it in memory."""
        with self._errors(key):
            self._client.download_file(self.bucket, self._prefix + key, str(path))

    def link(self, key: str, seconds: int = 7 * 24 * 3600) -> str:
        """A signed URL that a browser can open for a while."""
        parameters = {"Bucket": self.bucket, "Key": self._prefix + key}
        return str(self._client.generate_presigned_url("get_object", Params=parameters, ExpiresIn=seconds))

    def _entries(self, prefix: str) -> Iterator[tuple[str, float, dict[str, Any]]]:
        """Key, age in seconds and description of what lies below a prefix, in the keys' order."""
        with self._errors(prefix):
            pages = self._client.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self.bucket, Prefix=self._prefix + prefix):
                for entry in page.get("Contents", []):
                    yield entry["Key"].removeprefix(self._prefix), _age(page, entry["LastModified"]), entry

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
            raise refused(error, self.uri(what), self.bucket, self._endpoint) from error
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


def sha256(data: bytes) -> str:
    """SHA-256 as hex."""
    return hashlib.sha256(data).hexdigest()


def _age(answer: Any, written: datetime) -> float:
    """Seconds since something was written, by the clock of the store that answers."""
    said = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
    return float((said - written).total_seconds())
