"""What S3 refuses, in words that say what to do."""

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from botocore.exceptions import ClientError

from influcoder.core.errors import AbsentError, ChangedMeanwhileError, IntegrityError, StoreError

ABSENT = ("NoSuchKey", "404", "NotFound")
_CONFLICTS = ("PreconditionFailed", "ConditionalRequestConflict", "412", "409")
_FULL = ("InsufficientStorage", "507", "QuotaExceeded", "XMinioStorageFull")
# S3 refuses requests that were signed earlier or later than this.
_SKEW = timedelta(minutes=15)


def code_of(error: ClientError) -> str:
    """The code of an error; empty where it has none."""
    return str(error.response.get("Error", {}).get("Code", ""))


def refused(error: ClientError, uri: str, bucket: str, endpoint: str) -> StoreError:
    """An answer of S3 that is an error, as one of ours.

    Args:
        error: what boto3 made of the answer.
        uri: address of the object, or of the prefix.
        bucket: name of the bucket.
        endpoint: the server.
    """
    code = code_of(error)
    if code in _CONFLICTS:
        return ChangedMeanwhileError(f"{uri} was changed by somebody else.", "Read it again.")
    if code == "NoSuchBucket":
        return StoreError(f"bucket {bucket!r} does not exist at {endpoint}.", "Run: influcoder up")
    if code == "InvalidRange":
        return IntegrityError(f"{uri} is shorter than it was when it was written.", "Restore it.")
    if code in ABSENT:
        return AbsentError(f"{uri} is not there.")
    if _clocks_differ(error):
        return StoreError(
            f"this machine's clock and that of S3 at {endpoint} are more than 15 minutes apart.",
            "Set the clock (NTP), then run the same step again.",
        )
    if code in _FULL:
        return StoreError(f"the disk behind {endpoint} is full.", "Free space, then run the same step again.")
    return StoreError(f"S3 at {endpoint} refused {uri}: {error.response['Error'].get('Message') or code}")


def silent_store(endpoint: str) -> StoreError:
    """What to say of an endpoint that does not answer."""
    return StoreError(f"S3 at {endpoint} does not answer.", "Is the stack up? Run: influcoder up")


def _clocks_differ(error: ClientError) -> bool:
    """Whether a request was refused for its time; the answer to a HEAD says so only by its own."""
    answer = error.response.get("ResponseMetadata", {})
    said = answer.get("HTTPHeaders", {}).get("date")
    apart = abs(parsedate_to_datetime(said) - datetime.now(UTC)) if said else timedelta(0)
    return answer.get("HTTPStatusCode") == 403 and apart > _SKEW
