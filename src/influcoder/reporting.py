"""Settings of reports."""

from pydantic import Field

from influcoder.section import Section


class ReportSettings(Section):
    """How long reports of checks are kept; the records that decisions are made from are kept for ever.

    Args:
        keep: reports in the Evidently UI, which reads all of them for each page, and slows with thousands.
        keep_days: days that a check's page stays in the store, 4 MB each.
    """

    keep: int = Field(500, ge=1)
    keep_days: int = Field(90, ge=1)
