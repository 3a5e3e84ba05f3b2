"""A report for people who are no engineers: this behaviour, these data points, this chain of evidence."""

from influcoder.attribution.audit.record import Audit, Link, Point, Ruler
from influcoder.attribution.audit.render import render_html, render_pdf

__all__ = ["Audit", "Link", "Point", "Ruler", "render_html", "render_pdf"]
