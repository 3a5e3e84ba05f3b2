"""An encoder and an index as one registered model, which attributes wherever MLflow serves it."""

import tempfile
from pathlib import Path

from influcoder.index import Manifest
from influcoder.index.publish import copy
from influcoder.registry.encoder_version import EncoderVersion
from influcoder.registry.mlflow_registry import CHAMPION, Registry
from influcoder.serving.model_spec import model_spec
from influcoder.storage.folder import Folder
from influcoder.storage.objects import Objects


def package(registry: Registry, store: Objects, version: EncoderVersion, manifest: Manifest) -> str:
    """Register an encoder version together with an index of its own, unless that is done; the URI of the model.

    What is packed of the champion becomes the champion of the packed ones.

    Args:
        registry: holds the version, and gets the model.
        store: holds the index.
        version: the encoder.
        manifest: of the index.
    """
    tags = {
        "encoder.version": version.version,
        "index.id": manifest.id,
        "corpus.uri": manifest.corpus_uri,
        "decoder.fingerprint": version.decoder_fingerprint,
        "labelset.id": version.label_set_id,
    }
    number = registry.packed(tags)
    if number is None:
        with tempfile.TemporaryDirectory() as files, tempfile.TemporaryDirectory() as index:
            copy(store, manifest, Folder(Path(index)))
            encoder = registry.download(version, Path(files))
            number = registry.pack(model_spec(registry.model, encoder, Path(index)), tags, _card(version, manifest))
    if CHAMPION in version.aliases:
        registry.prefer(number)
    return f"models:/{registry.answers}/{number}"


def _card(version: EncoderVersion, manifest: Manifest) -> str:
    rho, lo, hi = (version.figure(f"agreement.{name}") for name in ("rho", "lo", "hi"))
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
