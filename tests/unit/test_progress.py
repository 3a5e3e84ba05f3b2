"""What is said of long work, and that work within other work is counted once."""

import logging

from influcoder.core import progress as module
from influcoder.core.progress import progress


def test_work_within_work_is_not_said(caplog, monkeypatch):
    monkeypatch.setattr(module, "SECONDS_BETWEEN_LINES", -1.0)
    with caplog.at_level(logging.INFO, "influcoder.core.progress"):
        with progress("reading", None) as outer:
            outer.advance(7)
            with progress("embedding", 2) as inner:
                inner.advance(2)
        with progress("alone", 2) as ticker:
            ticker.advance(2, "done")
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2
    assert lines[0].startswith("reading: 7, ")
    assert lines[1].startswith("alone: 2 of 2, ")
    assert lines[1].endswith(", done")
