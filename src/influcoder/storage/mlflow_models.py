"""Files of a model that MLflow keeps, which need not be one of ours."""

from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from influcoder.core.errors import RegistryError
from influcoder.settings.tree import load_settings


def model_address(uri: str) -> tuple[str, str]:
    """Number of a model version, and where MLflow keeps its files; a version never changes.

    Args:
        uri: `models:/NAME/VERSION` or `models:/NAME@ALIAS`.
    Raises:
        RegistryError: MLflow is out of reach, or knows no such model.
    """
    import mlflow
    from mlflow.exceptions import MlflowException

    mlflow.set_tracking_uri(load_settings().mlflow.tracking_uri)
    client, name = mlflow.MlflowClient(), uri.removeprefix("models:/")
    try:
        if "@" in name:
            version = client.get_model_version_by_alias(*name.split("@", 1))
        else:
            version = client.get_model_version(*name.rsplit("/", 1))
        root = client.get_model_version_download_uri(version.name, version.version)
    except (MlflowException, TypeError) as error:
        hint = "Name models:/NAME/VERSION or models:/NAME@ALIAS."
        raise RegistryError(f"MLflow gives no {uri}: {error}", hint) from error
    return f"{version.name}/{version.version}", root.rstrip("/")


def model_files(root: str) -> list[str]:
    """Paths of all files below an address that `model_address` gave."""
    import mlflow

    return _listed(lambda below: mlflow.artifacts.list_artifacts(artifact_uri=root + below), "")


def fetch_model_file(root: str, path: str, folder: Path) -> None:
    """One of these files into a folder."""
    import mlflow

    mlflow.artifacts.download_artifacts(artifact_uri=f"{root}/{path}", dst_path=str(folder))


def _listed(look: Callable[[str], Sequence[Any]], below: str) -> list[str]:
    found: list[str] = []
    for item in look(below):
        place = f"{below}/{PurePosixPath(item.path).name}"
        found += _listed(look, place) if item.is_dir else [place.lstrip("/")]
    return found
