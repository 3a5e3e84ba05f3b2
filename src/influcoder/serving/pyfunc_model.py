"""The encoder as an MLflow model from code: this file alone is stored with a model that carries no index.

So it imports nothing of ours, but where an index is packed with the model, and the package with both.
"""

import json
import logging
import threading
import time
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException

# Characters of a text, rows of a request, and samples that are given of each output.
LONGEST, MOST_ROWS, MOST_OUTPUTS, MOST_RESULTS = 50_000, 4096, 256, 100
_METHODS = ("embed", "score", "attribute")
# Seconds between two questions to the registry, and how long an answer waits for one.
FRESH, PATIENCE = 60.0, 2.0
_UNKNOWN = "nobody knows whether these scores may be trusted: {}"
log = logging.getLogger("influcoder.serving.model_spec")


class EncoderModel(mlflow.pyfunc.PythonModel):
    """Samples in; vectors, estimated influence, or the samples that drove an output out."""

    def load_context(self, context: Any) -> None:
        """Load the sentence-transformers directory that was logged beside this file.

        The code in it is that of a closed form alone: what a text encoder was distilled from may name more.
        """
        from sentence_transformers import SentenceTransformer

        folder = context.artifacts["encoder"]
        modules = json.loads(Path(folder, "modules.json").read_text())
        in_closed_form = modules[0]["type"] == "lexical.LexicalKernel"
        self.encoder = SentenceTransformer(folder, trust_remote_code=in_closed_form)
        self.index = _index(context.artifacts.get("index"))
        self.trust = Trust((context.model_config or {}).get("encoder", ""))

    # MLflow reads hints here as the model's schema, and the signature that was logged says it better.
    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        """A row for each row: `vector`, `score` or `samples`, by the parameter `method`.

        `embed` takes the columns `target`, and `context` where it is; `score` takes `candidate` and `candidate_context`
        too; `attribute` takes the parameters `k` and `least`. Where the registry says that scores
        are not to be trusted, or can't be asked, each row has a `warning`, too.
        """
        found = self._answers(model_input, params)
        warning = self.trust.warning()
        return found.assign(warning=warning) if warning else found

    def _answers(self, model_input: pd.DataFrame, params: dict[str, Any] | None) -> pd.DataFrame:
        wanted = {"method": "embed", "k": 10, "least": 0, **(params or {})}
        method = wanted["method"]
        if method not in _METHODS:
            raise _refused(f"there is no method {method!r}; it is one of {', '.join(_METHODS)}.")
        if len(model_input) > (most := MOST_OUTPUTS if method == "attribute" else MOST_ROWS):
            raise _refused(f"{len(model_input)} rows at a time are too many for {method}; {most} are not.")
        if method == "score":
            return pd.DataFrame({"score": self._scores(model_input)})
        if method == "attribute":
            return pd.DataFrame({"samples": self._samples(model_input, wanted["k"], wanted["least"])})
        return pd.DataFrame({"vector": self._vectors(model_input).tolist()})

    def _scores(self, rows: pd.DataFrame) -> list[float]:
        query, candidate = self._vectors(rows), self._vectors(rows, "candidate", "candidate_context")
        return np.clip((query * candidate).sum(axis=1), -1, 1).tolist()

    def _samples(self, rows: pd.DataFrame, k: int, least: int) -> list[list[dict[str, Any]]]:
        if self.index is None:
            raise _refused("no index is packed with this model. Run: influcoder index --package")
        if not (0 <= k <= MOST_RESULTS and 0 <= least <= MOST_RESULTS):
            raise _refused(f"k and least are between 0 and {MOST_RESULTS}.")
        from influcoder.attribution import attribute_by

        return [
            [
                {
                    "end": end,
                    "rank": item.rank,
                    "score": item.score,
                    "percentile": item.percentile,
                    "source": item.sample.source,
                    "id": item.sample.id,
                    "text": item.sample.text,
                }
                for end, item in found.ends
            ]
            for found in attribute_by(self.index, self._vectors(rows), k, least)
        ]

    def _vectors(self, rows: pd.DataFrame, target: str = "target", context: str = "context") -> np.ndarray:
        """Vectors whose inner products estimate influence, shape (rows, dimensions)."""
        targets, contexts = _texts(rows, target), _texts(rows, context, required=False)
        if type(self.encoder[0]).__name__ == "LexicalKernel":
            pairs = list(zip(contexts, targets, strict=True))
            return np.asarray(self.encoder.encode(pairs, show_progress_bar=False))
        texts = [f"{before}\n{after}".strip() for before, after in zip(contexts, targets, strict=True)]
        return np.asarray(self.encoder.encode(texts, normalize_embeddings=True, show_progress_bar=False))


class Trust:
    """What the registry says of an encoder's scores, asked beside an answer, once a minute at most.

    Args:
        model: name of the registered encoder; empty where it was not kept.
        fresh: seconds between two questions.
    """

    def __init__(self, model: str, fresh: float = FRESH) -> None:
        self._model, self._fresh, self._due, self._lock = model, fresh, 0.0, threading.Lock()
        self._asks = bool(model) and mlflow.get_registry_uri().startswith(("http", "databricks"))
        self._warning = _UNKNOWN.format("the registry has not answered yet") if self._asks else ""
        if not self._asks:
            log.warning("no registry to ask whether scores are degraded; set MLFLOW_TRACKING_URI to one that knows.")

    def warning(self) -> str:
        """Why scores are not to be trusted; empty where nothing is known against them, or nobody can be asked."""
        with self._lock:
            due = self._asks and time.monotonic() >= self._due
            self._due = time.monotonic() + self._fresh if due else self._due
        if due:
            thread = threading.Thread(target=self._ask, daemon=True)
            thread.start()
            # A registry that is slow tells a later answer.
            thread.join(PATIENCE)
        return self._warning

    def _ask(self) -> None:
        try:
            champion = mlflow.MlflowClient().get_model_version_by_alias(self._model, "champion")
        except MlflowException as error:
            no_champion = error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
            self._warning = "" if no_champion else _UNKNOWN.format(error.message.splitlines()[0])
            return
        # The words of `monitoring.loop.breaker`, which does not travel with the model.
        is_degraded = champion.tags.get("trust") == "degraded"
        mend = "Retraining has stopped; see: influcoder status"
        self._warning = f"scores of {self._model} are degraded. {mend}" if is_degraded else ""


def _texts(rows: pd.DataFrame, column: str, required: bool = True) -> list[str]:
    if column not in rows and required:
        raise _refused(f"there is no column {column!r}.")
    texts = rows[column].fillna("").tolist() if column in rows else [""] * len(rows)
    if not all(isinstance(text, str) for text in texts):
        raise _refused(f"a value of the column {column!r} is no text.")
    if required and not all(text.strip() for text in texts):
        raise _refused(f"a text of the column {column!r} is empty.")
    if any(len(text) > LONGEST for text in texts):
        raise _refused(f"a text of the column {column!r} has more than {LONGEST} characters.")
    return texts


def _index(folder: str | None) -> Any:
    """The index of a folder that holds one; None where none is packed."""
    if folder is None:
        return None
    from influcoder.index import Index
    from influcoder.storage.folder import Folder

    found = next(Path(folder).glob("indexes/*/manifest.json"))
    return Index.open(Folder(Path(folder)), found.parent.name)


def _refused(message: str) -> MlflowException:
    return MlflowException.invalid_parameter_value(message)


mlflow.models.set_model(EncoderModel())
