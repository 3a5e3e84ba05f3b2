"""What stands behind an answer: encoder → label set → teacher → decoder, index → corpus, and the code's commit."""

from dataclasses import dataclass
from typing import Any

from influcoder.core import tags
from influcoder.core.provenance import code_commit
from influcoder.index import Manifest
from influcoder.registry.encoder_version import EncoderVersion, agreement_figures, agreement_words

_AGREEMENT = {"rho": tags.RHO, "lo": tags.LO, "hi": tags.HI, "floor": tags.FLOOR, "lift": tags.LIFT}


@dataclass(frozen=True)
class Provenance:
    """From an answer back to the bytes that it came from.

    Args:
        version: the encoder, with the tags that say what it was made of.
        index: the index that was searched.
    """

    version: EncoderVersion
    index: Manifest

    def row(self) -> dict[str, Any]:
        """Flat, for a row of a table of answers; what is not known is None."""
        return {
            "encoder": self.version.version,
            "label_set": self.version.label_set_id,
            "decoder": self.version.decoder_fingerprint,
            **agreement_figures(self.version),
            "index": self.index.id,
            "corpus": self.index.corpus_uri,
        }

    def record(self) -> dict[str, Any]:
        """For a page or a file: agreement in a table of its own, as the registry writes it."""
        version = self.version
        return {
            "encoder": version.version,
            "agreement": {name: version.tags.get(tag) for name, tag in _AGREEMENT.items()},
            "ceiling": version.tags.get(tags.CEILING),
            "label_set": version.label_set_id,
            "teacher": version.teacher_id,
            "decoder": version.decoder_fingerprint,
            "index": self.index.id,
            "corpus": self.index.corpus_uri,
            "samples": self.index.rows,
            "code": code_commit(),
        }

    def encoder(self) -> dict[str, Any]:
        """All that is known of the encoder, down to its files."""
        version = self.version
        return {
            "version": version.version,
            "run": version.run_id,
            "sha256": version.files_digest,
            "label_set": version.label_set_id,
            "teacher": version.tags.get(tags.TEACHER),
            "decoder": version.decoder_fingerprint,
            "agreement": {name: value for name, value in version.tags.items() if name.startswith(tags.AGREEMENT)},
            "ceiling": version.tags.get(tags.CEILING),
        }

    def tags(self) -> dict[str, str]:
        """For what is logged to MLflow and answers from this index."""
        return {
            tags.ENCODER_VERSION: self.version.version,
            tags.INDEX: self.index.id,
            tags.CORPUS: self.index.corpus_uri,
            tags.DECODER: self.version.decoder_fingerprint,
            tags.LABEL_SET: self.version.label_set_id,
        }

    def __str__(self) -> str:
        return (
            f"encoder version {self.version.version}, labels {self.version.label_set_id}, "
            f"decoder {self.version.decoder_fingerprint[:12]}, agreement {agreement_words(self.version.tags)}, "
            f"index {self.index.id} of {self.index.rows} samples"
        )
