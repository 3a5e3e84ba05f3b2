"""The manifests, against the schemas of Kubernetes and the settings of this project."""

import re
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from influcoder.core.errors import SettingsError
from influcoder.settings.tree import load_settings

FOLDER = Path(__file__).parents[2] / "infra" / "kubernetes"
MANIFESTS = list(yaml.safe_load_all((FOLDER / "influcoder.yaml").read_text()))


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda found: found["metadata"]["name"] + found["kind"])
def test_manifests_are_what_kubernetes_takes(manifest):
    kubernetes_validate.validate(manifest, "1.33", strict=True)
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate({**manifest, "metadata": "none"}, "1.33", strict=True)


def test_settings_are_what_the_project_takes(monkeypatch):
    pairs = [line.split("=", 1) for line in (FOLDER / "settings.env").read_text().splitlines()]
    for name, value in pairs:
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("INFLUCODER_SETTINGS", str(FOLDER / "influcoder.toml"))
    found = load_settings()
    assert (found.decoder, found.corpus) == ("s3://models/my-decoder/checkpoint", "s3://pools/pool.parquet")
    assert found.mlflow.tracking_uri == dict(pairs)["INFLUCODER_MLFLOW__TRACKING_URI"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INFLUCODER_STORE__BUKET", "x")
        with pytest.raises(SettingsError, match="store.buket"):
            load_settings()


def test_what_is_named_is_there():
    customised = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
    generators = customised["configMapGenerator"] + customised["secretGenerator"]
    files = {name for found in generators for name in (*found.get("envs", ()), *found.get("files", ()))}
    assert all((FOLDER / name).is_file() for name in (*files, *customised["resources"]))
    text = (FOLDER / "influcoder.yaml").read_text()
    referred = set(re.findall(r"(?:configMapRef|configMap): \{name: ([\w-]+)\}", text))
    assert referred == {found["name"] for found in customised["configMapGenerator"]}
