"""Channels: what Apprise carries, with its URLs kept out of every log, record and error."""

import logging
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote

from influcoder.core.errors import SettingsError
from influcoder.settings.alerts import AlertChannel, AlertKind, AlertSettings
from monitoring.alerts.render import Rendered

_HELP = "Apprise lists the URLs at https://github.com/caronc/apprise/wiki."
# Shorter words of a URL are no secrets, and hiding them would hide every error.
_SECRET = 4


def channels_for(kind: AlertKind, settings: AlertSettings) -> tuple[str, ...]:
    """Names of the channels that take a kind of alert."""
    return tuple(channel.name for channel in settings.channels if not channel.only or kind in channel.only)


def examine(channel: AlertChannel) -> None:
    """Whether Apprise can read a channel's URL.

    Raises:
        SettingsError: it can't; the URL itself is not in the message.
    """
    _plugin(channel)


def send(channel: AlertChannel, message: Rendered, severity: str) -> str:
    """Send a message; what went wrong, without secrets, or nothing.

    Args:
        channel: where to.
        message: in each format that a channel may want.
        severity: Apprise's `info`, `success`, `warning` or `failure`.
    """
    from apprise import NotifyFormat, NotifyType

    try:
        plugin = _plugin(channel)
        # Some plugins name their format by a word, others by its enumeration.
        form = NotifyFormat(plugin.notify_format)
        body = {NotifyFormat.HTML: message.html, NotifyFormat.MARKDOWN: message.markdown}.get(form, message.text)
        with _captured() as said:
            arrived = plugin.notify(body=body, title=message.title, notify_type=NotifyType(severity), body_format=form)
    except SettingsError as error:
        return str(error)
    except Exception as error:
        # More than a hundred plugins, each with its own errors; none of them may stop a deliverer.
        return scrubbed(f"{type(error).__name__}: {error}", channel)
    return "" if arrived else scrubbed(" ".join(said) or "the channel refused the message", channel)


def scrubbed(text: str, channel: AlertChannel) -> str:
    """A text without anything that a channel's URL says beyond its schema."""
    _, _, rest = channel.url.get_secret_value().partition("://")
    words = {word for part in re.split(r"[/:@?&=#,+\s]+", rest) for word in (part, unquote(part))}
    for word in sorted((word for word in words if len(word) >= _SECRET), key=len, reverse=True):
        text = text.replace(word, "****")
    return text[:500]


def _plugin(channel: AlertChannel) -> Any:
    from apprise import Apprise

    with _captured():
        plugin = Apprise.instantiate(channel.url.get_secret_value(), suppress_exceptions=True)
    if plugin is None:
        raise SettingsError(f"alerts.channels: Apprise can't read the URL of {channel.name!r}.", _HELP)
    return plugin


@contextmanager
def _captured() -> Iterator[list[str]]:
    """What Apprise warns of in this thread; nothing of it, and nothing of the requests behind, reaches a log."""
    logger, said, here = logging.getLogger("apprise"), list[str](), threading.get_ident()
    # At their finer levels both write down whole URLs.
    logger.propagate = False
    logger.setLevel(logging.WARNING)
    logging.getLogger("urllib3").setLevel(logging.WARNING)

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.thread == here:
                said.append(record.getMessage())

    handler = Keep()
    logger.addHandler(handler)
    try:
        yield said
    finally:
        logger.removeHandler(handler)
