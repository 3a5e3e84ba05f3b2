"""Encoder versions as MLflow lists them, over HTTP: importing MLflow takes longer than the rest of a command."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from influcoder.core.errors import RegistryError
from influcoder.registry.encoder_version import EncoderVersion
from influcoder.settings.servers import MlflowSettings

_ABSENT = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
_PASSING = (408, 429, 500, 502, 503, 504)
# With any of these, MLflow's own client knows better how to sign in.
_SIGNS = ("MLFLOW_TRACKING_", "MLFLOW_REGISTRY_", "MLFLOW_WORKSPACE")


def is_plain(uri: str) -> bool:
    """Whether an MLflow server is asked without signing in, so that its client is not needed to read from it."""
    signed = any(name.startswith(_SIGNS) and name != "MLFLOW_TRACKING_URI" for name in os.environ)
    home = Path.home() / ".mlflow" / "credentials"
    return uri.startswith(("http://", "https://")) and "@" not in uri and not signed and not home.is_file()


class Catalogue:
    """The versions of one registered model.

    Raises, from every method:
        RegistryError: the server does not answer, or refuses.
    """

    def __init__(self, settings: MlflowSettings) -> None:
        self._settings = settings
        self._session = requests.Session()
        # As often and for as long as MLflow's client would, with its pauses.
        self._timeout = float(os.environ.get("MLFLOW_HTTP_REQUEST_TIMEOUT", "120"))
        retries = Retry(
            total=int(os.environ.get("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")),
            backoff_factor=float(os.environ.get("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "2")),
            status_forcelist=_PASSING,
            raise_on_status=False,
        )
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(max_retries=retries))

    def find(self, which: str) -> EncoderVersion | None:
        """A version by its alias or number; None where there is none."""
        if which.isdigit():
            found = self._get("model-versions/get", name=self._settings.model, version=which)
        else:
            found = self._get("registered-models/alias", name=self._settings.model, alias=which)
        return None if found is None else self._as_version(found["model_version"])

    def versions(self) -> list[EncoderVersion]:
        """All of them, oldest first."""
        aliases: dict[str, list[str]] = {}
        # A search leaves the aliases out.
        model = self._get("registered-models/get", name=self._settings.model) or {"registered_model": {}}
        for item in model["registered_model"].get("aliases", []):
            aliases.setdefault(str(item["version"]), []).append(item["alias"])
        rows = ({**row, "aliases": aliases.get(str(row["version"]), [])} for row in self._search())
        return sorted(map(self._as_version, rows), key=lambda version: int(version.version))

    def _search(self) -> Iterator[Mapping[str, Any]]:
        token: str | None = ""
        while token is not None:
            query = {"filter": f"name = '{self._settings.model}'", **({"page_token": token} if token else {})}
            page = self._get("model-versions/search", **query) or {}
            yield from page.get("model_versions", [])
            token = page.get("next_page_token") or None

    def _get(self, path: str, **query: str) -> dict[str, Any] | None:
        uri = self._settings.tracking_uri.rstrip("/")
        try:
            answer = self._session.get(f"{uri}/api/2.0/mlflow/{path}", params=query, timeout=self._timeout)
            content = answer.json()
        except requests.exceptions.JSONDecodeError as error:
            raise RegistryError(f"MLflow at {uri}: what answers there is no MLflow ({answer.status_code}).") from error
        except requests.exceptions.RequestException as error:
            raise unreachable(uri) from error
        if answer.ok:
            return dict(content)
        if content.get("error_code") in _ABSENT:
            return None
        said = (str(content.get("message")).splitlines() or [""])[0]
        raise RegistryError(f"MLflow at {uri}: {said or answer.status_code}")

    def _as_version(self, row: Mapping[str, Any]) -> EncoderVersion:
        tags = {item["key"]: item.get("value", "") for item in row.get("tags", [])}
        number, aliases = str(row["version"]), tuple(sorted(row.get("aliases", [])))
        return EncoderVersion(number, row.get("run_id", ""), aliases, tags, page_of(self._settings, number))


def page_of(settings: MlflowSettings, number: str) -> str:
    """The page of a version in the MLflow UI."""
    return f"{settings.tracking_uri}/#/models/{settings.model}/versions/{number}"


def unreachable(uri: str) -> RegistryError:
    """What to say of a server that does not answer."""
    return RegistryError(f"MLflow at {uri} does not answer.", "Is the stack up? Run: influcoder up")
