"""What tests of alerts share: a mail server and an HTTP receiver that are real, and alerts to send."""

import json
import socket
import threading
import time
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

from influcoder.settings.alerts import AlertKind, AlertSettings
from monitoring.alerts.alert import Alert, Figure
from monitoring.alerts.channels import channels_for
from monitoring.alerts.outbox import Outbox, ways

TOKEN = "tok3nThatNobodyMaySee"
PASSWORD = "passw0rdThatNobodyMaySee"
DEAD = f"json://user:{PASSWORD}@127.0.0.1:9/{TOKEN}"


class Receiver:
    """An HTTP server that keeps what it is sent, and can be slow, or refuse."""

    def __init__(self, port=0):
        self.bodies, self.status, self.delay = [], 200, 0.0
        self.started = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if receiver.status == 200:
                    receiver.bodies.append(json.loads(body))
                receiver.started.set()
                time.sleep(receiver.delay)
                self.send_response(receiver.status)
                self.end_headers()

            def log_message(self, *arguments):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"json://user:{PASSWORD}@127.0.0.1:{self.port}/{TOKEN}"

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


class Mailbox:
    """A mail server that wants a password and keeps what it is sent."""

    def __init__(self):
        self.mails = []
        # The controller knocks at the port that it was given, so it can't choose one itself.
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.server = Controller(self, "127.0.0.1", self.port, authenticator=self._login, auth_require_tls=False)
        self.server.start()

    def stop(self):
        self.server.stop()

    def _login(self, server, session, envelope, mechanism, data):
        return AuthResult(success=data.password == PASSWORD.encode())

    async def handle_DATA(self, server, session, envelope):
        self.mails.append(message_from_bytes(envelope.content, policy=policy.default))
        return "250 OK"


def settings_of(*channels, **more):
    return AlertSettings(channels=channels, **more)


def drifted(number=1, kind=AlertKind.DRIFT):
    return Alert(
        kind=kind,
        subject=f"encoder {number}",
        occurrence=f"check {number}",
        title=f"encoder {number} drifted",
        what="It no longer ranks like exact influence.",
        figures=(Figure(name="agreement", value=0.412, lo=0.371, hi=0.455),),
        doing="It retrains.",
        todo=("Look: `influcoder status`",),
        links={"Evidently report": "http://127.0.0.1:8000/report?a=1&b=2"},
        created=datetime.now(UTC).replace(microsecond=0).isoformat(),
    )


def post(store, settings, *alerts):
    for one in alerts:
        Outbox(store).post(one, channels_for(one.kind, settings))


def waiting(store):
    return [way.entry.id for way in ways(store) if way.waits_for]


def at(**later):
    return lambda: datetime.now(UTC) + timedelta(**later)
