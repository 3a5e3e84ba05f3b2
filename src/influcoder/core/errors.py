"""The errors that a user can meet. Each message says what happened; `hint` says what to do next."""


class InflucoderError(Exception):
    """Base of every error that is reported in one line, without a traceback."""

    hint = ""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint or self.hint

    def __str__(self) -> str:
        message = super().__str__()
        return f"{message} {self.hint}" if self.hint else message


class SettingsError(InflucoderError):
    """A setting is missing or contradicts another one."""


class MissingPackageError(InflucoderError):
    """An optional package is not installed."""


class SampleError(InflucoderError):
    """A corpus can't be read, or holds samples that can't be used."""


class ScoreTableError(InflucoderError):
    """A table of imported scores can't be read, or does not fit its samples."""


class DecoderError(InflucoderError):
    """A decoder can't be found, loaded or fingerprinted."""


class EncoderError(InflucoderError):
    """An encoder can't be loaded or trained."""


class WrongDecoderError(InflucoderError):
    """An artifact of one decoder checkpoint was offered for another one."""


class OptimizerStateError(InflucoderError):
    """An optimiser state is missing, unreadable, or belongs to another adapter."""


class MemoryShortError(InflucoderError):
    """Not even the smallest batch fits into memory."""


class ShapeError(InflucoderError):
    """Arrays whose shapes do not fit each other."""


class StoreError(InflucoderError):
    """The object store is out of reach, or refused an operation."""


class ChangedMeanwhileError(StoreError):
    """A compare-and-swap lost against another writer."""


class BusyError(StoreError):
    """Another run is at the same work."""


class IntegrityError(StoreError):
    """Stored bytes do not match their checksum, or an artifact is incomplete."""


class AbsentError(IntegrityError):
    """There is no object under a key."""


class ValidationFailedError(InflucoderError):
    """Great Expectations refused a label set."""


class RegistryError(InflucoderError):
    """MLflow is out of reach, or does not hold what was asked for."""


class ServiceError(InflucoderError):
    """A server of the stack did not start or does not answer."""


class AlertError(InflucoderError):
    """Alerts did not reach the people who they are for."""
