"""Everything that a person on call asks first, on one screen; a server that is away does not hide the rest."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from rich.markup import escape
from rich.table import Table

from flows.context import Place, load_place
from influcoder.cli import status_lines as lines
from influcoder.cli.servers import PrefectServer, is_up, no_prefect, silent_prefect
from influcoder.cli.status_lines import Line
from influcoder.cli.tables import facts
from influcoder.core.errors import InflucoderError
from influcoder.local.stack import Stack
from influcoder.registry.catalogue import unreachable
from influcoder.registry.mlflow_registry import CHALLENGER
from influcoder.settings.tree import Settings
from influcoder.storage.s3_errors import silent_store

WELL, WRONG, UNREACHABLE = 0, 1, 2


@dataclass(frozen=True)
class Status:
    """How everything stands.

    Args:
        lines: what is known, by its name.
        unreachable: the one sentence to say where no server answers; empty otherwise.
    """

    lines: dict[str, Line] = field(default_factory=dict)
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
        rows = [(name, escape(line.words)) for name, line in self.lines.items()]
        return facts("Influcoder", [*rows, ("what is wrong", escape("\n".join(self.wrong)) or "nothing")])

    def record(self) -> dict[str, Any]:
        """The same as a JSON object."""
        known = {name.replace(" ", "_"): line.data for name, line in self.lines.items()}
        return {"code": self.code, **known, "wrong": self.wrong}


def ask(stack: Stack) -> Status:
    """Ask every server that answers, all at once."""
    place, prefect = load_place(), PrefectServer.named()
    settings = place.settings
    places = {"S3": settings.store.endpoint, "MLflow": settings.mlflow.tracking_uri, "Prefect": prefect.url}
    urls = {name: url for name, url in places.items() if url and url.startswith("http")}
    with ThreadPoolExecutor() as pool:
        up = dict(zip(urls, pool.map(is_up, urls.values()), strict=True))
        if "MLflow" not in urls:
            # A file or a database is no server that could be asked whether it is there.
            up["MLflow"] = True
        if not any(up.values()):
            named = ", ".join(f"{name} at {url}" for name, url in urls.items())
            return Status(unreachable=f"no stack is running, and no server answers: {named}. Run: influcoder up")
        # An endpoint that nobody names is that of AWS.
        away = {name: error for name, error in _gone(settings, prefect).items() if not up.get(name, name == "S3")}
        found = pool.map(lambda lookup: _answer(lookup, away), _lookups(place, prefect))
    local = stack.urls()
    fixed = {"decoder": Line(settings.decoder, settings.decoder), "corpus": Line(settings.corpus, settings.corpus)}
    servers = Line(", ".join(f"{name} {url}" for name, url in local.items()) or "not of a local stack", local)
    return Status({**fixed, **dict(found), "servers": servers})


def _lookups(place: Place, prefect: PrefectServer) -> list[lines.Lookup]:
    store, registry = place.store, place.registry
    return [
        lines.Lookup("champion", ("MLflow",), lambda: lines.champion(registry)),
        lines.Lookup("challenger", ("MLflow",), lambda: lines.version(registry.find(CHALLENGER))),
        lines.Lookup("journal", ("S3", "MLflow"), lambda: lines.journal(place)),
        lines.Lookup("breaker", ("S3",), lambda: lines.breaker(place)),
        lines.Lookup("latest labels", ("S3",), lambda: lines.labels(store)),
        lines.Lookup("last check", ("S3",), lambda: lines.last_check(store)),
        lines.Lookup("alerts", ("S3",), lambda: lines.alerts(place)),
        lines.Lookup("next check", ("Prefect",), lambda: lines.next_check(prefect)),
    ]


def _gone(settings: Settings, prefect: PrefectServer) -> dict[str, InflucoderError]:
    return {
        "S3": silent_store(settings.store.endpoint or ""),
        "MLflow": unreachable(settings.mlflow.tracking_uri),
        "Prefect": silent_prefect(prefect.url) if prefect.url else no_prefect(),
    }


def _answer(lookup: lines.Lookup, away: dict[str, InflucoderError]) -> tuple[str, Line]:
    try:
        for server in lookup.servers:
            if server in away:
                raise away[server]
        return lookup.name, lookup.find()
    except InflucoderError as error:
        return lookup.name, Line("unknown", None, (str(error),))
