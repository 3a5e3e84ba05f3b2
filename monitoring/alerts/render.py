"""An alert as people read it: plain text, markdown and HTML, from the templates beside this file."""

import re
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from influcoder.settings.alerts import AlertKind
from monitoring.alerts.alert import Alert, OutboxEntry
from monitoring.alerts.policy import Message

TEMPLATES = Path(__file__).parent / "templates"
_COLOURS = {"failure": "#b3261e", "warning": "#8a5a00", "info": "#1f5fa8"}
_FAILURES = (AlertKind.BREAKER, AlertKind.SCHEDULE, AlertKind.CHANNEL)
_WORDS = {
    AlertKind.DRIFT: "drift",
    AlertKind.GATE: "failed gate",
    AlertKind.BREAKER: "breaker",
    AlertKind.SCHEDULE: "no check in time",
    AlertKind.VALIDATION: "labels refused",
    AlertKind.CHANNEL: "dead channel",
    AlertKind.APPROVAL: "waits for approval",
    AlertKind.TEST: "test",
}


@dataclass(frozen=True)
class Rendered:
    """A message in each format that a channel may want.

    Args:
        title: one line.
        text: plain text.
        markdown: CommonMark, which Apprise turns into what Slack and Teams read.
        html: a page for mail programs, with styles in place.
    """

    title: str
    text: str
    markdown: str
    html: str


def render(message: Message) -> Rendered:
    """The message in words."""
    lead, *others = message.alerts
    name = "digest" if message.digest else "alert"
    title = f"{len(message.alerts)} alerts were held back" if message.digest else lead.alert.title
    words = {
        "message": message,
        "title": title,
        "alert": lead.alert,
        "others": others,
        "colour": _COLOURS[severity(message)],
    }
    text, markdown, html = (
        _environment().get_template(f"{name}.{ending}.j2").render(words).strip() + "\n"
        for ending in ("txt", "md", "html")
    )
    return Rendered(f"Influcoder: {title}", text, markdown, html)


def severity(message: Message) -> str:
    """In Apprise's words: the worst of what is in the message."""
    kinds = {entry.alert.kind for entry in message.alerts}
    if kinds & set(_FAILURES):
        return "failure"
    return "info" if kinds == {AlertKind.TEST} else "warning"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=lambda name: name is not None and name.endswith(".html.j2"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"moment": _moment, "kind": _kind, "code": _code, "plain": _plain, "sentence": _sentence}
    return environment


def _moment(created: str) -> str:
    return f"{datetime.fromisoformat(created):%d %b %Y, %H:%M} UTC"


def _kind(of: Alert | OutboxEntry) -> str:
    return _WORDS[of.alert.kind if isinstance(of, OutboxEntry) else of.kind]


def _code(text: str) -> Markup:
    """Words in backquotes as code, and intervals on one line, for HTML."""
    style = (
        "display:inline-block;font:14px/1.4 ui-monospace,Menlo,Consolas,monospace;background:#f1f2f4;padding:1px 4px"
    )
    shown = rf'<code style="{style};border-radius:4px;overflow-wrap:anywhere">\1</code>'
    whole = re.sub(r"\[([-+\d.]+), ([-+\d.]+)\]", r"[\1,&nbsp;\2]", str(escape(text)))
    return Markup(re.sub(r"`([^`]+)`", shown, whole))


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}"


def _plain(text: str) -> str:
    """Without the backquotes."""
    return text.replace("`", "")
