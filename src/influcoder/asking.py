"""Settings of the log of what the encoder is asked."""

from pydantic import Field

from influcoder.section import Section


class AskedSettings(Section):
    """The log of what the encoder was asked, and what spot labels are drawn from it.

    Args:
        log: whether there is one; without, nothing is written and nothing is read.
        keep_days: older days are deleted by the next check, or by `influcoder asked --expire`.
        share: of a check's queries are drawn from the log; 0 draws none.
        least: with fewer usable queries in the log than this, all are drawn from the corpus.
    """

    log: bool = True
    keep_days: int = Field(30, ge=1)
    share: float = Field(0.5, ge=0, le=1)
    least: int = Field(8, ge=1)
