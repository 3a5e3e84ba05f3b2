"""Everything that is said to MLflow: runs, encoder versions, aliases."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from functools import cached_property
from math import isfinite
from pathlib import Path
from typing import Any

from influcoder.core.errors import IntegrityError, RegistryError
from influcoder.core.files import files_hash
from influcoder.core.processes import is_gone, mark
from influcoder.core.tags import FILES
from influcoder.registry.catalogue import Catalogue, is_plain, page_of, unreachable
from influcoder.registry.encoder_version import EncoderVersion, Evidence
from influcoder.settings.servers import MlflowSettings

__all__ = ["CHALLENGER", "CHAMPION", "EncoderVersion", "Evidence", "Registry"]

CHAMPION, CHALLENGER = "champion", "challenger"
_EVIDENCE = "evidence/agreement.json"
_PROCESS = "process"

# A first user has forgotten to start the stack; MLflow would try for minutes before it says so.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")


class Registry:
    """The MLflow server as this product uses it.

    Raises, from every method:
        RegistryError: the server does not answer, or does not hold what was asked for.
    """

    def __init__(self, settings: MlflowSettings) -> None:
        self._settings = settings
        self._catalogue = Catalogue(settings) if is_plain(settings.tracking_uri) else None

    @cached_property
    def _mlflow(self) -> Any:
        import mlflow

        mlflow.set_tracking_uri(self._settings.tracking_uri)
        return mlflow

    @cached_property
    def _client(self) -> Any:
        return self._mlflow.MlflowClient()

    @property
    def model(self) -> str:
        """Name of the registered model that all versions are of."""
        return self._settings.model

    @contextmanager
    def run(self, name: str, tags: Mapping[str, str]) -> Iterator[str]:
        """A training run, closed as failed where the body raises; gives the run's id.

        One whose process was killed is closed by the next run on the same host; MLflow would call it running for ever.
        """
        with self._errors():
            experiment = self._mlflow.set_experiment(self._settings.experiment)
            for left in self._client.search_runs([experiment.experiment_id], "attributes.status = 'RUNNING'"):
                if is_gone(left.data.tags.get(_PROCESS, "")):
                    self._client.set_terminated(left.info.run_id, "KILLED")
            with self._mlflow.start_run(run_name=name, tags={**tags, _PROCESS: mark()}) as active:
                yield active.info.run_id

    def give_up(self, run_id: str) -> None:
        """Close a run whose process was killed: MLflow can't know, and shows it as running for ever."""
        with self._errors():
            if self._client.get_run(run_id).info.status == "RUNNING":
                self._client.set_terminated(run_id, status="KILLED")

    def log_label_set(self, label_set_id: str, uri: str) -> None:
        """Log the label set version as the active run's training data set."""
        from mlflow.data.dataset_source_registry import resolve_dataset_source
        from mlflow.data.meta_dataset import MetaDataset

        with self._errors():
            source = resolve_dataset_source(uri)
            self._mlflow.log_input(MetaDataset(source, name="label set", digest=label_set_id), context="training")

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Parameters of the active run."""
        with self._errors():
            self._mlflow.log_params(dict(params))

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Metrics of the active run; those that are not finite are left out."""
        finite = {name: value for name, value in metrics.items() if isfinite(value)}
        with self._errors():
            self._mlflow.log_metrics(finite, step=step)

    def log_figure(self, figure: Any, name: str) -> str:
        """A plot of the active run; its address on the server, as a description may show it."""
        with self._errors():
            self._mlflow.log_figure(figure, f"plots/{name}")
            run_id = self._mlflow.active_run().info.run_id
        return f"get-artifact?path=plots/{name}&run_uuid={run_id}"

    def log_file(self, path: Path) -> None:
        """A file that the active run shows."""
        with self._errors():
            self._mlflow.log_artifact(str(path))

    def log_evidence(self, evidence: Evidence) -> None:
        """What was measured, for the drift decision to compare with."""
        with self._errors():
            self._mlflow.log_dict(asdict(evidence), _EVIDENCE)

    def register(
        self, folder: Path, model: Mapping[str, Any], tags: Mapping[str, str], description: str
    ) -> EncoderVersion:
        """Log a sentence-transformers directory as a model, register it and make it the challenger.

        The version comes to be with all its tags: one that does not say what it came from is never to be seen.

        Args:
            folder: the directory.
            model: arguments of `mlflow.pyfunc.log_model`, see `influcoder.serving.model_spec`.
            tags: of the version.
            description: in markdown.
        """
        with self._errors():
            info = self._mlflow.pyfunc.log_model(name="encoder", **model)
            known = {**tags, FILES: files_hash(folder)}
            number = str(self._mlflow.register_model(info.model_uri, self._settings.model, tags=known).version)
            self._client.update_model_version(self._settings.model, number, description)
            self._client.set_registered_model_alias(self._settings.model, CHALLENGER, number)
        return self.version(number)

    @property
    def answers(self) -> str:
        """Name of the registered model whose versions carry an index, too."""
        return f"{self._settings.model}-answers"

    def packed(self, tags: Mapping[str, str]) -> str | None:
        """The number of the version of `answers` that has some tags; None where there is none."""
        with self._errors():
            found = self._client.search_model_versions(f"name = '{self.answers}'")
        return next((str(item.version) for item in found if tags.items() <= dict(item.tags).items()), None)

    def pack(self, model: Mapping[str, Any], tags: Mapping[str, str], description: str) -> str:
        """Register a model that holds an encoder and an index as a version of `answers`; its number."""
        with self.run("package", {}), self._errors():
            info = self._mlflow.pyfunc.log_model(name="answers", **model)
            number = str(self._mlflow.register_model(info.model_uri, self.answers, tags=dict(tags)).version)
            self._client.update_model_version(self.answers, number, description)
        return number

    def prefer(self, number: str) -> None:
        """Make a version of `answers` that model's champion."""
        with self._errors():
            self._client.set_registered_model_alias(self.answers, CHAMPION, number)

    def version(self, which: str) -> EncoderVersion:
        """An encoder version by its alias or number."""
        found = self.find(which)
        if found is None:
            missing = {
                CHAMPION: ("there is no champion yet.", "Run: influcoder train, then influcoder promote"),
                CHALLENGER: ("there is no challenger.", "Run: influcoder train"),
            }
            raise RegistryError(*missing.get(which, (f"there is no encoder version {which!r}.", "")))
        return found

    def find(self, which: str) -> EncoderVersion | None:
        """Like `version`, but None where there is none."""
        if self._catalogue:
            return self._catalogue.find(which)
        from mlflow.exceptions import MlflowException

        with self._errors():
            try:
                if which.isdigit():
                    found = self._client.get_model_version(self._settings.model, which)
                else:
                    found = self._client.get_model_version_by_alias(self._settings.model, which)
            except MlflowException as error:
                if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                    return None
                raise
        return self._as_version(found)

    def versions(self) -> list[EncoderVersion]:
        """All encoder versions, oldest first."""
        if self._catalogue:
            return self._catalogue.versions()
        with self._errors():
            found = self._client.search_model_versions(f"name = '{self._settings.model}'")
            # A search leaves the aliases out.
            numbers = sorted(int(item.version) for item in found)
        return [self.version(str(number)) for number in numbers]

    def download(self, version: EncoderVersion, folder: Path) -> Path:
        """Fetch the sentence-transformers directory of a version.

        Raises:
            IntegrityError: its files are not those that were registered.
        """
        with self._errors():
            uri = f"models:/{self._settings.model}/{version.version}"
            root = Path(self._mlflow.artifacts.download_artifacts(uri, dst_path=str(folder)))
        found = sorted(root.glob("artifacts/**/modules.json"))
        if not found:
            raise RegistryError(f"encoder version {version.version} holds no sentence-transformers directory.")
        registered = version.tags.get(FILES)
        if registered and files_hash(found[0].parent) != registered:
            raise IntegrityError(
                f"the files of encoder version {version.version} are not those that were registered.",
                "Restore them, or go back to another version: influcoder rollback --to VERSION",
            )
        return found[0].parent

    def evidence(self, version: EncoderVersion) -> Evidence:
        """What was measured of a version when it was trained."""
        with self._errors():
            content = json.loads(self._mlflow.artifacts.load_text(f"runs:/{version.run_id}/{_EVIDENCE}"))
        return Evidence.read(content)

    def promote(self, version: EncoderVersion, tags: Mapping[str, str]) -> EncoderVersion:
        """Make a version the champion; it stops being the challenger."""
        with self._errors():
            for name, value in tags.items():
                self._client.set_model_version_tag(self._settings.model, version.version, name, value)
            self._client.set_registered_model_alias(self._settings.model, CHAMPION, version.version)
            if CHALLENGER in version.aliases:
                self._client.delete_registered_model_alias(self._settings.model, CHALLENGER)
        return self.version(version.version)

    def tag(self, version: EncoderVersion, tags: Mapping[str, str]) -> None:
        """Set tags of a version."""
        with self._errors():
            for name, value in tags.items():
                self._client.set_model_version_tag(self._settings.model, version.version, name, value)

    def run_url(self, run_id: str) -> str:
        """A run's page in the MLflow UI."""
        with self._errors():
            experiment = self._client.get_run(run_id).info.experiment_id
        return f"{self._settings.tracking_uri}/#/experiments/{experiment}/runs/{run_id}"

    def _as_version(self, found: Any) -> EncoderVersion:
        number, aliases = str(found.version), tuple(sorted(found.aliases))
        return EncoderVersion(number, found.run_id, aliases, dict(found.tags), page_of(self._settings, number))

    @contextmanager
    def _errors(self) -> Iterator[None]:
        import requests
        from mlflow.exceptions import MlflowException

        try:
            yield
        except requests.exceptions.ConnectionError as error:
            raise unreachable(self._settings.tracking_uri) from error
        except MlflowException as error:
            if "Max retries exceeded" in str(error) or "Connection refused" in str(error):
                raise unreachable(self._settings.tracking_uri) from error
            raise RegistryError(f"MLflow at {self._settings.tracking_uri}: {error.message.splitlines()[0]}") from error
