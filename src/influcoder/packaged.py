"""An encoder and an index as one registered model, which attributes wherever MLflow serves it."""

import tempfile
from pathlib import Path

from influcoder.attribution.index import Manifest
from influcoder.attribution.index.objects import Objects
from influcoder.attribution.index.publish import copy
from influcoder.errors import EncoderError
from influcoder.folder import Folder
from influcoder.registry import EncoderVersion, Registry


def package(registry: Registry, store: Objects, version: EncoderVersion, manifest: Manifest) -> str:
    """Register an encoder version together with an index of its own; the URI of the model.

    Args:
        registry: holds the version, and gets the model.
        store: holds the index.
        version: the encoder.
        manifest: of the index.
    Raises:
        EncoderError: the encoder looks at the decoder's hidden states, which a served model doesn't have.
    """
    if manifest.identity.embedder.decoder is not None:
        raise EncoderError(
            f"encoder version {version.version} looks at the decoder's hidden states, and MLflow serves no decoder.",
            "Use influcoder serve, or train with encoder.depths = [].",
        )
    tags = {
        "encoder.version": version.version,
        "index.id": manifest.id,
        "corpus.uri": manifest.corpus_uri,
        "decoder.fingerprint": version.decoder_fingerprint,
        "labelset.id": version.label_set_id,
    }
    with tempfile.TemporaryDirectory() as name:
        copy(store, manifest, Folder(Path(name)))
        return registry.register_answers(version, Path(name), tags, _card(version, manifest))


def _card(version: EncoderVersion, manifest: Manifest) -> str:
    rho, lo, hi = (version.figure(f"agreement.{name}") for name in ("rho", "lo", "hi"))
    agreement = "unknown" if rho is None else f"{rho:.3f}" + (f" [{lo:.3f}, {hi:.3f}]" if lo and hi else "")
    return (
        f"Encoder version {version.version} with index `{manifest.id}`: {manifest.rows} samples of "
        f"`{manifest.corpus_uri}`.\n\nRight for decoder `{version.decoder_fingerprint[:16]}`; agreement with exact "
        f"influence when it was trained: {agreement}. It can't know what was found since: ask `influcoder status`.\n\n"
        '`POST /invocations` with `{"dataframe_records": [{"context": …, "target": …}], "params": {"method": '
        '"attribute", "k": 10, "least": 2}}`; methods are `embed`, `score` and `attribute`.\n'
    )
