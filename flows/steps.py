"""What all flows share: how a step is declared, and how a person is shown what happened."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar

from prefect import Task
from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.runtime import deployment, flow_run

from influcoder.core.provenance import person

P = ParamSpec("P")
R = TypeVar("R")


def step(name: str) -> Callable[[Callable[P, R]], Task[P, R]]:
    """A task; steps pass models and matrices, which must be neither hashed nor pickled."""
    return lambda work: Task(work, name=name, cache_policy=NO_CACHE, persist_result=False)


def actor() -> str:
    """Who answers for this run: the run itself where a deployment runs, else the person who called the flow."""
    return f"flow run {flow_run.name}" if deployment.id else person()


def show(key: str, summary: str, table: Sequence[Mapping[str, Any]], links: Mapping[str, str]) -> None:
    """Leave a summary, a table and links on the flow run's page.

    Args:
        key: prefix of the artifacts' keys; lower-case letters, digits and dashes.
        summary: markdown.
        table: rows of one shape.
        links: address by the words to show for it.
    """
    title = summary.splitlines()[0].lstrip("# ")
    create_markdown_artifact(summary, key=f"{key}-summary", description=title)
    create_table_artifact([dict(row) for row in table], key=f"{key}-table", description=f"Figures: {title}")
    for words, address in links.items():
        name = re.sub(r"[^a-z0-9]+", "-", words.lower())
        create_link_artifact(address, link_text=words, key=f"{key}-{name}", description=f"{words}: {title}")
