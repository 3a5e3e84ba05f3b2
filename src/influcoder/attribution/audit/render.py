"""The pages of an audit: HTML from a template, PDF by fpdf2; both stand for themselves."""

import logging
from collections.abc import Sequence
from functools import partial
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from influcoder.attribution.audit.record import Audit, Point
from influcoder.attribution.ranking import excerpt

if TYPE_CHECKING:
    from fpdf import FPDF

TITLE = "What drove this answer"
LIMITS = (
    "Influence says how one small training step on a sample would change how readily the model gives this answer. It "
    "does not say that the answer would not have been given without the sample, or that a person's text was copied.",
    "Samples outside the named data were not looked at. Another checkpoint of the model has influences of its own.",
    "Estimates rank better than they measure: read them as an order, and the exact figures as amounts.",
)
WORDS = {
    "sample": "one text of the training data",
    "influence": "how much training on a sample moves the model towards an answer, from -1 (against) to 1 (towards)",
    "exact influence": "the same, computed from gradients of the model itself",
    "estimate": "the same, predicted by an encoder that was trained on exact influences",
    "agreement": "how well the order of the estimates follows that of exact influences (Spearman's ρ)",
    "decoder": "the language model that gave the answer, in one checkpoint",
    "SHA-256": "a fingerprint of content: another content has another one",
}
_INK, _GREY, _LINE, _WARN = (36, 50, 63), (106, 117, 128), (214, 219, 224), (253, 243, 226)
_LONGEST, _FONT = 700, "DejaVu"


def render_html(audit: Audit) -> bytes:
    """A page for a browser, without scripts or anything from the network."""
    loader = PackageLoader("influcoder.attribution.audit", "templates")
    pages = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    pages.filters["short"] = partial(excerpt, length=_LONGEST)
    page = pages.get_template("audit.html.j2")
    return page.render(audit=audit, title=TITLE, limits=LIMITS, words=WORDS).encode()


def render_pdf(audit: Audit) -> bytes:
    """The same as A4 pages; letters that DejaVu Sans has no shape for are left blank, and whole in the HTML page."""
    from fpdf import FPDF

    # It warns of every letter without a shape, and of every table that goes over a page.
    logging.getLogger("fpdf").setLevel(logging.ERROR)
    logging.getLogger("fontTools").setLevel(logging.ERROR)

    class Pages(FPDF):
        def footer(self) -> None:
            self.set_y(-13)
            _style(self, 7, _GREY)
            self.cell(0, 5, f"Influcoder audit {audit.id}, {audit.created}", align="L")
            self.set_x(self.l_margin)
            self.cell(0, 5, f"{self.page_no()} / {{nb}}", align="R")

    pdf = Pages(format="A4")
    _fonts(pdf)
    pdf.set_margins(18, 16, 18)
    pdf.set_auto_page_break(True, 18)
    pdf.set_title(f"{TITLE}: audit {audit.id}")
    pdf.set_lang("en")
    pdf.add_page()
    _front(pdf, audit)
    _points(pdf, "What drove it most", audit.most)
    if audit.least:
        _points(pdf, "What drove it least", audit.least)
    _back(pdf, audit)
    return bytes(pdf.output())


def _front(pdf: "FPDF", audit: Audit) -> None:
    _style(pdf, 18, _INK, bold=True)
    pdf.multi_cell(0, 9, TITLE, new_x="LMARGIN", new_y="NEXT")
    _text(pdf, f"Audit {audit.id}, {audit.created}, asked for by {audit.author}", 8, _GREY)
    if audit.warnings:
        _heading(pdf, "Read this first")
        _style(pdf, 9.5, _INK)
        pdf.set_fill_color(*_WARN)
        for warning in audit.warnings:
            pdf.multi_cell(0, 5.2, _plain(warning), fill=True, padding=2, align="L", new_x="LMARGIN", new_y="NEXT")
        pdf.set_fill_color(255)
    if audit.prompt:
        _heading(pdf, "The model was asked")
        _text(pdf, excerpt(audit.prompt, 3000))
    _heading(pdf, "It answered")
    _text(pdf, excerpt(audit.answer, 3000))
    _heading(pdf, "What was found")
    for sentence in audit.findings:
        _text(pdf, sentence)
    _heading(pdf, "How far this can be believed")
    for sentence in audit.trust:
        _text(pdf, sentence)


def _points(pdf: "FPDF", title: str, points: tuple[Point, ...]) -> None:
    rows = [
        (
            str(point.rank),
            f"{point.estimate:.3f}",
            "–" if point.exact is None else f"{point.exact:.3f}",
            f"{point.source or 'no source'} · {point.id}\n{excerpt(point.text, 420)}\nSHA-256 {point.sha256}",
        )
        for point in points
    ]
    _heading(pdf, title)
    _table(pdf, ("rank", "estimate", "exact", "sample"), rows, (11, 17, 14, 132))


def _back(pdf: "FPDF", audit: Audit) -> None:
    _heading(pdf, "The chain of evidence")
    _table(
        pdf, ("what", "identity"), [(link.what, f"{link.id}\n{link.detail}".strip()) for link in audit.chain], (38, 136)
    )
    _heading(pdf, "What this does not say")
    for sentence in LIMITS:
        _text(pdf, sentence)
    _heading(pdf, "Words")
    _table(pdf, ("word", "meaning"), list(WORDS.items()), (38, 136))


def _table(pdf: "FPDF", head: tuple[str, ...], rows: Sequence[tuple[str, ...]], widths: tuple[int, ...]) -> None:
    _style(pdf, 8, _INK)
    pdf.set_draw_color(*_LINE)
    align = tuple("RIGHT" if name in ("rank", "estimate", "exact") else "LEFT" for name in head)
    given: dict[str, Any] = {"col_widths": widths, "text_align": align, "borders_layout": "HORIZONTAL_LINES"}
    with pdf.table(line_height=4.2, padding=1.2, v_align="TOP", **given) as table:
        for cells in (head, *rows):
            row = table.row()
            for cell in cells:
                row.cell(_plain(cell))


def _heading(pdf: "FPDF", words: str) -> None:
    pdf.ln(3)
    if pdf.get_y() > pdf.h - 45:
        # A heading does not stand alone at the end of a page.
        pdf.add_page()
    _style(pdf, 11.5, _INK, bold=True)
    pdf.multi_cell(0, 7, words, new_x="LMARGIN", new_y="NEXT")


def _text(pdf: "FPDF", words: str, size: float = 9.5, colour: tuple[int, int, int] = _INK) -> None:
    _style(pdf, size, colour)
    pdf.multi_cell(0, 5.2, _plain(words), align="L", new_x="LMARGIN", new_y="NEXT")
    pdf.ln(1)


def _style(pdf: "FPDF", size: float, colour: tuple[int, int, int], bold: bool = False) -> None:
    pdf.set_font(_FONT, "B" if bold else "", size)
    pdf.set_text_color(*colour)


def _fonts(pdf: "FPDF") -> None:
    """The font that comes with Matplotlib: Latin, Greek, Cyrillic and more."""
    with resources.as_file(resources.files("matplotlib").joinpath("mpl-data/fonts/ttf")) as folder:
        for style, name in (("", "DejaVuSans.ttf"), ("B", "DejaVuSans-Bold.ttf")):
            pdf.add_font(_FONT, style, Path(folder, name))


def _plain(text: str) -> str:
    """Without letters that steer a printer."""
    return "".join(letter for letter in text if letter == "\n" or letter.isprintable())
