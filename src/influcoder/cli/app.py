"""The command line. Every command is a few lines over the library or a flow; heavy imports come late."""

import errno
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from influcoder.cli import alerts, attribute, audit, champion, checks, regions, serve
from influcoder.cli import filter as filtering
from influcoder.cli import index as indexes
from influcoder.cli import query_log as questions
from influcoder.cli.environment import Group, prepare
from influcoder.cli.stacks import STACKS, current_stack
from influcoder.cli.tables import AsJson, console, print_json
from influcoder.core.errors import InflucoderError, ServiceError
from influcoder.local.stack import SERVERS

app = typer.Typer(cls=Group, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode="markdown")
app.add_typer(alerts.app, name="alerts")

Decoder = Annotated[str | None, typer.Option(help="decoder checkpoint: a directory, .gguf, package:NAME, hf:NAME")]
Corpus = Annotated[str | None, typer.Option(help="pool of samples: docs:PACKAGES, .jsonl, .parquet, hf:NAME")]


@app.callback()
def root(
    context: typer.Context,
    stack: Annotated[
        str | None,
        typer.Option(
            help="which local stack to talk to, `.influcoder/NAME`",
            envvar="INFLUCODER_STACK",
            show_default="local, or the only one that runs",
        ),
    ] = None,
) -> None:
    """Data attribution for language models that is cheap, and checked.

    Labels are exact influence; an encoder is distilled from them; a scheduled check says whether it is still right.

    Example: `influcoder up && influcoder label && influcoder train && influcoder promote && influcoder check`
    """
    prepare(context, stack)


@app.command()
def up(
    s3_port: Annotated[int | None, typer.Option(help="a free port unless given")] = None,
    mlflow_port: Annotated[int | None, typer.Option(help="a free port unless given")] = None,
    prefect_port: Annotated[int | None, typer.Option(help="a free port unless given")] = None,
    evidently_port: Annotated[int | None, typer.Option(help="a free port unless given")] = None,
) -> None:
    """Start S3, MLflow, Prefect with a worker and the Evidently UI on loopback, and deploy the flows.

    Example: `influcoder up --mlflow-port 5000`
    """
    from influcoder.local.deploy import deploy

    ports = dict(zip(SERVERS, (s3_port, mlflow_port, prefect_port, evidently_port), strict=True))
    stack = current_stack()
    stack.start({name: port for name, port in ports.items() if port}, console.print)
    deploy(stack)
    console.print("The flows are deployed. Stop the stack with: influcoder down")


@app.command()
def down() -> None:
    """Stop the local stack; what it stored stays. Example: `influcoder down`"""
    console.print("stopped" if current_stack().stop() else "no stack is running")


@app.command()
def demo(keep: Annotated[bool, typer.Option(help="leave the servers running", envvar="KEEP")] = False) -> None:
    """Run the whole loop on a real decoder: label, train, promote, check, a real change, retrain, attribute.

    Example: `influcoder demo --keep`
    """
    from influcoder.cli.demo import Demo
    from influcoder.cli.demo_world import DOCUMENTATION

    Demo(STACKS / "demo", console, DOCUMENTATION).run(keep)


@app.command()
def label(
    decoder: Decoder = None,
    corpus: Corpus = None,
    plan: Annotated[bool, typer.Option("--plan", help="only say what it would take, from a measured probe")] = False,
) -> None:
    """Publish a label set version: exact influence of a sample of the corpus.

    Examples: `influcoder label --plan`, `influcoder label --corpus pool.jsonl --decoder ./checkpoint`
    """
    if plan:
        from influcoder.cli.plan import plan_table

        console.print(plan_table(decoder, corpus))
        return
    from flows.label import label as flow

    console.print(f"label set {flow(decoder, corpus)}")


@app.command()
def import_scores(
    table: Annotated[Path, typer.Argument(help=".parquet, .csv or .jsonl with query, candidate and score")],
    origin: Annotated[str, typer.Option(help="what computed the scores, such as `bergson 2.5.1`")] = "",
    spot: Annotated[bool, typer.Option("--spot", help="labels for a check, rather than to train from")] = False,
    second_opinion: Annotated[
        Path | None, typer.Option(help="scores of another run of the same method, which give the ceiling")
    ] = None,
    decoder: Decoder = None,
    corpus: Corpus = None,
) -> None:
    """Publish scores that another tool computed as a label set; queries and candidates are ids or hashes of samples.

    Example: `influcoder import-scores scores.parquet --origin "bergson 2.5.1"`
    """
    from flows.import_scores import import_scores as flow

    other = str(second_opinion) if second_opinion else None
    console.print(f"label set {flow(str(table), origin, spot, decoder, corpus, other)}")


@app.command()
def warm_up(
    out: Annotated[Path, typer.Option(help="the file to write")],
    steps: Annotated[int, typer.Option(min=1, help="optimiser steps")] = 50,
    batch: Annotated[int, typer.Option(min=1, help="samples a step")] = 4,
    decoder: Decoder = None,
    corpus: Corpus = None,
) -> None:
    """Train the teacher's adapter for some steps and keep Adam's state, which the teacher `less` needs.

    Example: `influcoder warm-up --out adam.safetensors`
    """
    from influcoder.cli.warm_up import warm_up as work

    console.print(f"{work(out, steps, batch, decoder, corpus)} holds the state; set labels.optimizer_state to it")


@app.command()
def train(
    label_set: Annotated[str | None, typer.Option(help="id of a label set; the latest unless given")] = None,
    start: Annotated[str, typer.Option(help="`base`, or the version to go on from, such as `champion`")] = "base",
) -> None:
    """Distil an encoder from a label set and register it as the challenger.

    Example: `influcoder train --start champion`
    """
    from flows.train import train as flow

    console.print(f"encoder version {flow(label_set, start)} is the challenger")


for _command in (champion.promote, champion.approve, champion.rollback, champion.journal, champion.encoders):
    app.command()(_command)
for _other in (champion.sweep, champion.watch, champion.backfill, checks.checks, questions.asked, questions.cause):
    app.command()(_other)
for _more in (indexes.index, indexes.indexes, attribute.attribute, regions.regions, audit.audit, serve.serve):
    app.command()(_more)
app.command("filter")(filtering.filter_corpus)
app.add_typer(champion.breaker, name="breaker")


@app.command()
def check(
    encoder: Annotated[str, typer.Option(help="alias or number")] = "champion",
    decoder: Decoder = None,
    corpus: Corpus = None,
    spot: Annotated[str | None, typer.Option(help="id of spot labels that are there, such as imported ones")] = None,
) -> None:
    """Compare the champion with fresh exact influence and decide: ok, warn, drift or insufficient.

    Example: `influcoder check --decoder ./checkpoint-2000`
    """
    from flows.check import check as flow

    console.print(f"check {flow(encoder, decoder, corpus, spot)}")


@app.command()
def retrain(check_id: Annotated[str, typer.Argument(help="id of a check whose verdict is drift")]) -> None:
    """Answer a drift decision: label what is new, train from the champion, gate, promote.

    Example: `influcoder retrain 0f3a…`
    """
    from flows.retrain import retrain as flow

    console.print("there is a new champion" if flow(check_id) else "the champion stays")


@app.command()
def status(as_json: AsJson = False) -> None:
    """Decoder, champion, its labels, last check, next scheduled run, and what is wrong, on one screen.

    Ends with 0 where all is well, 1 where something is wrong, 2 where no server answers.

    Examples: `influcoder status`, `influcoder status --json`
    """
    from influcoder.cli.status import ask

    found = ask(current_stack())
    if as_json:
        print_json(found.record())
    else:
        console.print(found.unreachable or found.table(), soft_wrap=bool(found.unreachable))
    raise typer.Exit(found.code)


def main() -> None:
    """Run a command; errors that a user can mend are one line."""
    try:
        app()
    except InflucoderError as error:
        fail(str(error))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        fail(f"the disk is full: {error.filename or 'no space left'}. Free space, then run the same command again.")
    except RuntimeError as error:
        if "Failed to reach API" not in str(error):
            raise
        fail(
            str(ServiceError(f"Prefect at {os.environ.get('PREFECT_API_URL')} does not answer.", "Run: influcoder up"))
        )


def fail(message: str) -> None:
    """Say what went wrong, without a traceback, and end with code 1."""
    from rich.console import Console

    Console(stderr=True, highlight=False, soft_wrap=True).print(f"[red]error[/red]: {message}")
    sys.exit(1)
