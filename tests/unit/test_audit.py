"""Audit reports: what they say follows from the figures, hostile text stays text, and nothing is fetched."""

import io
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from page_tags import Tags
from pypdf import PdfReader

from influcoder.attribution.audit import Audit, Link, Point, Ruler, render_html, render_pdf

RULER = Ruler(rho=0.52, lo=0.45, hi=0.59, floor=0.12, ceiling=0.92, measured="check 0f3a on fresh labels: ok")


def point(rank, exact=None, text="some text", **changes):
    facts = {"id": f"s{rank}", "source": "docs", "sha256": f"{rank:064x}", "text": text, "estimate": 1 / rank}
    return Point(rank=rank, exact=exact, **{**facts, **changes})


def audit(**changes):
    facts = {
        "created": "2026-01-02T03:04:05+00:00",
        "author": "ada",
        "prompt": "What is a comet?",
        "answer": "A comet is ice.",
        "pool": "pool.jsonl",
        "samples": 1234,
        "most": (point(1, 0.4), point(2, 0.2), point(3, -0.1)),
        "least": (point(1234, -0.3),),
        "controls": (0.0, 0.3),
        "rulers": (RULER,),
        "chain": (Link(what="encoder version", id="7", detail="made champion by ada"),),
    }
    return Audit(**{**facts, **changes})


def words(pdf):
    return " ".join(" ".join(page.extract_text() for page in PdfReader(io.BytesIO(pdf)).pages).split())


def test_sentences_follow_from_the_figures():
    said = " ".join(audit().findings)
    assert "Out of 1,234 samples" in said
    assert "2 of 3 push the model towards this answer, and the mean is 0.167" in said
    # 0.4 beats both, 0.2 beats 0.0, -0.1 beats none: 3 of 6 pairs.
    assert "2 samples drawn at random from the same data have 0.150 on average" in said
    assert "in 50% of pairs" in said
    assert "0.52 (95 % interval 0.45 to 0.59; check 0f3a on fresh labels: ok)" in audit().trust[0]


def test_what_was_not_measured_is_not_said():
    bare = audit(most=(point(1), point(2)), controls=(), rulers=(RULER.model_copy(update={"ceiling": None}),))
    assert bare.findings[-1].startswith("None of these estimates was checked")
    assert len(bare.trust) == 2
    assert "at random" not in " ".join(bare.findings)


def test_both_pages_say_the_same():
    found = audit(warnings=("the encoder is degraded: three challengers failed",))
    page, pdf = render_html(found).decode(), words(render_pdf(found))
    for sentence in (*found.findings, *found.trust, *found.warnings):
        flat = " ".join(sentence.split())
        assert flat in " ".join(page.split())
        assert flat in pdf
    for item in (*found.most, *found.least):
        assert item.sha256 in page
        assert item.sha256 in pdf.replace(" ", "")
    assert found.id in page
    assert found.id in pdf


def test_hostile_text_stays_text_and_nothing_is_fetched():
    evil = '<script>alert(1)</script><img src="http://x/y"> {{ 7*7 }} \x00\x1b[31m \u202e'
    found = audit(prompt=evil, answer=evil, most=(point(1, 0.1, text=evil, source=evil, id=evil),))
    page = render_html(found).decode()
    tags = Tags()
    tags.feed(page)
    assert {tag for tag, _ in tags.found}.isdisjoint({"script", "img", "link", "iframe"})
    assert not any(name in ("src", "href") or name.startswith("on") for _, attrs in tags.found for name in attrs)
    assert "{{ 7*7 }}" in page
    assert "<script>alert(1)</script>" in words(render_pdf(found))


def test_long_reports_go_over_pages_with_their_number():
    text = "a long text about comets and their tails " * 30
    found = audit(most=tuple(point(rank, 0.1, text=text) for rank in range(1, 31)))
    pages = PdfReader(io.BytesIO(render_pdf(found))).pages
    assert len(pages) > 3
    for number, page in enumerate(pages, 1):
        assert re.search(rf"{number} / {len(pages)}", page.extract_text())


@settings(max_examples=4)
@given(text=st.text(st.characters(codec="utf-8"), min_size=1, max_size=80))
def test_any_text_can_be_reported(text):
    found = audit(answer=text, most=(point(1, 0.5, text=text),))
    assert render_html(found)
    assert render_pdf(found).startswith(b"%PDF")


def test_the_id_stands_for_the_content():
    assert audit().id == audit().id
    assert audit().id != audit(answer="A comet is snow.").id
    with pytest.raises(ValueError, match="frozen"):
        audit().answer = "x"
