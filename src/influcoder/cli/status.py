"""Everything that a person on call asks first, on one screen; a server that is away does not hide the rest."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from rich.markup import escape
from rich.table import Table

from influcoder.cli import status_lines as lines
from influcoder.cli.reach import PrefectServer, answers, no_prefect, silent_prefect
from influcoder.cli.status_lines import Said
from influcoder.cli.tables import facts
from influcoder.core.errors import InflucoderError
from influcoder.local.stack import Stack
from influcoder.registry.catalogue import unreachable
from influcoder.registry.mlflow_registry import CHALLENGER, Registry
from influcoder.settings.tree import Settings, load_settings
from influcoder.storage.object_store import ObjectStore
from influcoder.storage.s3_errors import silent_store

WELL, WRONG, UNREACHABLE = 0, 1, 2


@dataclass(frozen=True)
class Status:
    """How everything stands.

    Args:
        lines: what is known, by its name.
        unreachable: the one sentence to say where no server answers; empty otherwise.
    """

    lines: dict[str, Said] = field(default_factory=dict)
    unreachable: str = ""

    @property
    def wrong(self) -> list[str]:
        """What is wrong, each once."""
        found = (problem for line in self.lines.values() for problem in line.wrong)
        return [self.unreachable] if self.unreachable else list(dict.fromkeys(found))

    @property
    def code(self) -> int:
        """The exit code: 0 well, 1 something is wrong, 2 no server answers."""
        return UNREACHABLE if self.unreachable else WRONG if self.wrong else WELL

    def table(self) -> Table:
        """The screen."""
        rows = [(name, escape(said.words)) for name, said in self.lines.items()]
        return facts("Influcoder", [*rows, ("what is wrong", escape("\n".join(self.wrong)) or "nothing")])

    def record(self) -> dict[str, Any]:
        """The same as a JSON object."""
        known = {name.replace(" ", "_"): said.data for name, said in self.lines.items()}
        return {"code": self.code, **known, "wrong": self.wrong}


def gather(stack: Stack) -> Table:
    """The status as a table of two columns."""
    return look(stack).table()


def look(stack: Stack) -> Status:
    """Ask every server that answers, all at once."""
    settings, prefect = load_settings(), PrefectServer.named()
    places = {"S3": settings.store.endpoint, "MLflow": settings.mlflow.tracking_uri, "Prefect": prefect.url}
    asked = {name: url for name, url in places.items() if url and url.startswith("http")}
    with ThreadPoolExecutor() as pool:
        up = dict(zip(asked, pool.map(answers, asked.values()), strict=True))
        if "MLflow" not in asked:
            # A file or a database is no server that could be asked whether it is there.
            up["MLflow"] = True
        if not any(up.values()):
            named = ", ".join(f"{name} at {url}" for name, url in asked.items())
            return Status(unreachable=f"no stack is running, and no server answers: {named}. Run: influcoder up")
        # An endpoint that nobody names is that of AWS.
        away = {name: error for name, error in _gone(settings, prefect).items() if not up.get(name, name == "S3")}
        found = pool.map(lambda line: _said(line, away), _lines(settings, prefect))
    urls = stack.urls()
    fixed = {"decoder": Said(settings.decoder, settings.decoder), "corpus": Said(settings.corpus, settings.corpus)}
    servers = Said(", ".join(f"{name} {url}" for name, url in urls.items()) or "not of a local stack", urls)
    return Status({**fixed, **dict(found), "servers": servers})


def _lines(settings: Settings, prefect: PrefectServer) -> list[lines.Line]:
    store, registry = ObjectStore(settings.store), Registry(settings.mlflow)
    return [
        lines.Line("champion", ("MLflow",), lambda: lines.champion(registry)),
        lines.Line("challenger", ("MLflow",), lambda: lines.version(registry.find(CHALLENGER))),
        lines.Line("journal", ("S3", "MLflow"), lambda: lines.journal(store, registry)),
        lines.Line("breaker", ("S3",), lambda: lines.breaker(store, settings)),
        lines.Line("latest labels", ("S3",), lambda: lines.labels(store)),
        lines.Line("last check", ("S3",), lambda: lines.last_check(store)),
        lines.Line("alerts", ("S3",), lambda: lines.alerts(settings.alerts, store)),
        lines.Line("next check", ("Prefect",), lambda: lines.next_check(prefect)),
    ]


def _gone(settings: Settings, prefect: PrefectServer) -> dict[str, InflucoderError]:
    return {
        "S3": silent_store(settings.store.endpoint or ""),
        "MLflow": unreachable(settings.mlflow.tracking_uri),
        "Prefect": silent_prefect(prefect.url) if prefect.url else no_prefect(),
    }


def _said(line: lines.Line, away: dict[str, InflucoderError]) -> tuple[str, Said]:
    try:
        for server in line.servers:
            if server in away:
                raise away[server]
        return line.name, line.ask()
    except InflucoderError as error:
        return line.name, Said("unknown", None, (str(error),))
