"""The main job on this machine: the whole loop, on a real decoder, through real servers."""

import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from influcoder.cli.demo_world import World, fine_tuned
from influcoder.core.files import write_whole
from influcoder.local.deploy import deploy, schedules
from influcoder.local.flow_start import warm_socket
from influcoder.local.stack import Stack
from influcoder.registry.mlflow_registry import CHAMPION, Registry
from influcoder.settings.tree import load_settings
from influcoder.storage.object_store import ObjectStore
from monitoring.causes.record import Explained, load_cause
from monitoring.checks.findings import Verdict
from monitoring.checks.record import Check, checks
from monitoring.loop.retraining import answer_of

EVENT_SECONDS = 90.0
CHECKS_AFTER = 3


class Demo:
    """One run of the loop, with a line for every step and a summary at the end.

    Args:
        folder: where the stack, the settings and the summary go.
        console: where the lines go.
        world: decoder and corpus, how they change, and what is asked.
    """

    def __init__(self, folder: Path, console: Console, world: World) -> None:
        self._folder = folder
        self._console = console
        self._world = world
        self._stack = Stack(folder)
        self._seconds: dict[str, float] = {}
        self._start = time.monotonic()

    def run(self, keep: bool) -> dict[str, Any]:
        """Run the loop and write `summary.json`; the servers stop at the end unless `keep`, and where it is stopped."""
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
        try:
            summary = self._loop()
        except BaseException:
            self._stack.stop()
            raise
        path = self._folder / "summary.json"
        write_whole(path, json.dumps(summary, indent=1).encode())
        self._console.print(f"\nSummary: {path}, {sum(self._seconds.values()):.0f} s in all")
        if keep:
            schedules(self._stack, "resume")
            for name, url in summary["urls"].items():
                self._console.print(f"  {name:10} {url}")
            self._console.print("The servers stay. Look around with: influcoder --stack demo status")
            self._console.print("Stop them with:                     influcoder --stack demo down")
        else:
            self._stack.stop()
            self._console.print("The servers are stopped. KEEP=1 leaves them running to look around.")
        return summary

    def _loop(self) -> dict[str, Any]:
        self._bring_up()
        self._deployment("label", "exact influence of a first label set")
        self._deployment("train", "distil an encoder from it")
        self._deployment("promote", "hold the challenger against the gate")
        first = self._check("check", "fresh exact influence against the champion")
        with self._step("change", "the world changes: the decoder is fine-tuned, the corpus grows"):
            self._change_the_world(first.decoder)
        second = self._checks_after()
        retraining = self._follow_retraining(second)
        with self._step("attribute", f"what in {self._world.pool} drove the answer to: {self._world.prompt}"):
            self._attribute()
        return self._summary(first, second, retraining)

    def _bring_up(self) -> None:
        self._console.rule("Influcoder: the closed loop", align="left")
        with self._step("stack", "start S3, MLflow, Prefect with a worker, Evidently UI on loopback"):
            self._stack.stop()
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder.mkdir(parents=True)
            self._world.write_settings(self._folder, self._world.decoder, self._world.before)
            self._stack.start(say=self._say)
            os.environ.update(self._stack.environment())
            deploy(self._stack)
            # What the schedules start would come between the steps, at whatever minute it is.
            schedules(self._stack, "pause")
            self._say("prefect.yaml is deployed, its schedules are paused")

    @property
    def _deployments(self) -> Any:
        # Prefect reads its settings when it is imported, and they are known only once the stack is up.
        from influcoder.cli import deployments

        return deployments

    def _deployment(self, name: str, what: str) -> Any:
        with self._step(name, what):
            return self._deployments.run(name, self._say)

    def _check(self, name: str, what: str) -> Check:
        with self._step(name, what):
            self._deployments.run("check", self._say)
        return checks(self._store())[-1]

    def _checks_after(self) -> Check:
        """Checks as a schedule would make them; a fall that one does not show beyond doubt can add up over several."""
        for number in range(1, CHECKS_AFTER + 1):
            found = self._check(
                f"check {number} after the change", "the same check, on the decoder and corpus as they are now"
            )
            if found.verdict is Verdict.DRIFT:
                break
        return found

    def _change_the_world(self, before: str) -> None:
        folder = (self._folder / "decoder-2").resolve()
        after = fine_tuned(self._world, folder, warm_socket(self._stack.folder), self._say)
        steps = self._world.fine_tuning["steps"]
        self._say(f"{steps} steps on {self._world.lesson}: {before[:12]} became {after[:12]}")
        self._world.write_settings(self._folder, str(folder), self._world.after)

    def _follow_retraining(self, check: Check) -> Any:
        if check.verdict is not Verdict.DRIFT:
            self._say(f"No drift was found ({check.verdict}): no retraining is due, the champion stays.")
            return None
        with self._step("retrain", "the drift event starts a retraining on the worker"):
            started = self._deployments.started_by_event(
                "retrain", datetime.fromisoformat(check.created), EVENT_SECONDS
            )
            if started is None:
                self._say("The event did not arrive in time; answering the decision directly.")
                return self._deployments.run("retrain", self._say, check_id=check.id)
            self._say(f"flow run {started.name} was started by the event")
            return self._deployments.follow(started.id, "retrain", self._say)

    def _attribute(self) -> None:
        from influcoder.cli.attribute import table
        from influcoder.serving.answers import attribute_one

        found = attribute_one(self._world.prompt, self._world.answer, 10, exact=10, least=3, corpus=self._world.pool)
        for warning in found.warnings:
            self._say(f"warning: {warning}")
        self._console.print(table(found))
        (self._folder / "answer.json").write_text(json.dumps(found.rows(), indent=1, ensure_ascii=False))

    def _summary(self, first: Check, second: Check, retraining: Any) -> dict[str, Any]:
        registry = Registry(load_settings().mlflow)
        versions = registry.versions()
        answer = answer_of(self._store(), second.id)
        agreement = {
            "untrained": _plain(first.untrained["rho"]),
            "champion_before": _plain(first.figures["rho"]),
            "after_change": _plain(second.figures["rho"]),
            "untrained_after_change": _plain(second.untrained["rho"]),
            "after_retrain": None,
        }
        if answer is not None:
            agreement["after_retrain"] = _plain(
                registry.evidence(registry.version(answer.version)).figures["encoder"]["rho"]
            )
        cause = load_cause(self._store(), second.id)
        self._console.print(_agreement_table(agreement, second, cause))
        return {
            "decoder_fingerprint": first.decoder,
            "decoder_fingerprint_after_change": second.decoder,
            "label_set_id": versions[0].label_set_id,
            "encoder_versions": [
                {"version": v.version, "alias": ", ".join(v.aliases) or None, "tags": dict(v.tags)} for v in versions
            ],
            "champion": registry.version(CHAMPION).version,
            "agreement": agreement,
            "verdicts": {"before": first.verdict, "after_change": second.verdict},
            "cause": cause.cause if cause else None,
            "events": self._deployments.events(
                "influcoder.drift",
                since=datetime.fromisoformat(first.created),
                at_least=int(second.verdict is Verdict.DRIFT),
            ),
            "retrain_run_id": str(retraining.id) if retraining else None,
            "urls": self._stack.urls(),
            "seconds": {name: round(value, 1) for name, value in self._seconds.items()},
            "finished": datetime.now(UTC).replace(microsecond=0).isoformat(),
        }

    def _store(self) -> ObjectStore:
        return ObjectStore(load_settings().store)

    def _say(self, line: str) -> None:
        self._console.print(f"  [dim]{time.monotonic() - self._start:5.0f} s[/dim]  {line}", soft_wrap=True)

    @contextmanager
    def _step(self, name: str, what: str) -> Iterator[None]:
        started = time.monotonic()
        self._console.print(f"\n[bold]{name}[/bold]: {what}")
        yield
        self._seconds[name] = time.monotonic() - started
        self._say(f"[green]done[/green] in {self._seconds[name]:.0f} s")


def _plain(figure: dict[str, float]) -> dict[str, float]:
    return {"rho": figure["value"], "lo": figure["lo"], "hi": figure["hi"], "queries": int(figure["queries"])}


def _agreement_table(agreement: dict[str, Any], second: Check, cause: Explained | None) -> Table:
    names = {
        "untrained": "untrained encoder, before the change",
        "champion_before": "champion, before the change",
        "untrained_after_change": "untrained encoder, after the change",
        "after_change": "champion, after the change",
        "after_retrain": "new champion, same spot labels",
    }
    table = Table(title="\nAgreement with exact influence (mean per-query ρ, 95 % interval)", title_justify="left")
    for column in ("encoder", "ρ", "interval", "queries"):
        table.add_column(column, justify="left" if column == "encoder" else "right")
    for name, words in names.items():
        if found := agreement[name]:
            table.add_row(
                words,
                f"{found['rho']:.3f}",
                f"[{found['lo']:.3f}, {found['hi']:.3f}]".replace("[", "\\["),
                str(found["queries"]),
            )
    bounds = f"after the change {second.bounds}; " if second.bounds else ""
    why = f"\ncause: {cause.cause}; {cause.reason}" if cause else ""
    table.caption = f"{bounds}{second.judgement.reason}{why}".replace("[", "\\[")
    return table
