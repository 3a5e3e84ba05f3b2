"""An encoder and an index as one registered model, which attributes wherever MLflow serves it."""

import tempfile
from pathlib import Path

from influcoder.core import tags
from influcoder.index.publish import copy
from influcoder.registry.mlflow_registry import CHAMPION
from influcoder.serving.champion import ServedChampion
from influcoder.serving.model_spec import model_spec
from influcoder.serving.provenance import Provenance
from influcoder.storage.folder import Folder


def package(champion: ServedChampion) -> str:
    """Register an encoder version together with its index, unless that is done; the URI of the model.

    What is packed of the champion becomes the champion of the packed ones.

    Args:
        champion: the version and its index.
    """
    registry, version, behind = champion.registry, champion.version, champion.provenance
    number = registry.packed(behind.tags())
    if number is None:
        with tempfile.TemporaryDirectory() as files, tempfile.TemporaryDirectory() as index:
            copy(champion.store, behind.index, Folder(Path(index)))
            model = model_spec(registry.model, registry.download(version, Path(files)), Path(index))
            number = registry.pack(model, behind.tags(), _card(behind))
    if CHAMPION in version.aliases:
        registry.prefer(number)
    return f"models:/{registry.answers}/{number}"


def _card(behind: Provenance) -> str:
    version, manifest = behind.version, behind.index
    rho, lo, hi = (version.figure(tag) for tag in (tags.RHO, tags.LO, tags.HI))
    agreement = (
        "unknown"
        if rho is None
        else f"{rho:.3f}" + (f" [{lo:.3f}, {hi:.3f}]" if lo is not None and hi is not None else "")
    )
    return (
        f"Encoder version {version.version} with index `{manifest.id}`: {manifest.rows} samples of "
        f"`{manifest.corpus_uri}`.\n\nRight for decoder `{version.decoder_fingerprint[:16]}`; agreement with exact "
        f"influence when it was trained: {agreement}. It can't know what was found since: ask `influcoder status`.\n\n"
        '`POST /invocations` with `{"dataframe_records": [{"context": …, "target": …}], "params": {"method": '
        '"attribute", "k": 10, "least": 2}}`; methods are `embed`, `score` and `attribute`.\n'
    )
