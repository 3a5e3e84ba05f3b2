"""Settings of what the loop may do by itself."""

from pydantic import Field

from influcoder.section import Section


class RetrainingSettings(Section):
    """How often the loop may retrain by itself, and when it has to stop.

    Args:
        cooldown_hours: from the end of one retraining to the start of the next.
        per_week: retrainings that may start within seven days.
        hours_per_week: hours of work within seven days after which none starts any more.
        attempts: runs of one retraining, killed and failed ones included, before its decision is given up.
        failures: challengers in a row that fail the gate before the breaker opens.
        lease_seconds: a run that gave no sign of life for so long is taken to be dead, and another goes on with its
            work; it is measured by the store's clock alone.
    """

    cooldown_hours: float = Field(6.0, ge=0)
    per_week: int = Field(7, ge=1)
    hours_per_week: float = Field(48.0, gt=0)
    attempts: int = Field(5, ge=1)
    failures: int = Field(3, ge=1)
    lease_seconds: float = Field(300.0, ge=3)
