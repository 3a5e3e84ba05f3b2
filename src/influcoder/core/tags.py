"""Names of the tags of an encoder version in MLflow. None may change: data is older than code."""

from typing import Final

DECODER: Final = "decoder.fingerprint"
DECODER_URI: Final = "decoder.uri"
LABEL_SET: Final = "labelset.id"
TEACHER: Final = "teacher.id"
# SHA-256 over the names and the content of the encoder's files, see `influcoder.core.files.files_hash`.
FILES: Final = "encoder.sha256"
COMMIT: Final = "code.commit"

# Agreement with exact influence when the version was made: mean per-query ρ, its interval, and what bounds it.
AGREEMENT: Final = "agreement."
RHO, LO, HI = (f"{AGREEMENT}{end}" for end in ("rho", "lo", "hi"))
QUERIES, UNTRAINED, BEFORE = (f"{AGREEMENT}{name}" for name in ("queries", "untrained", "before"))
FLOOR, FLOOR_OF = f"{AGREEMENT}floor", f"{AGREEMENT}floor.of"
LIFT, LIFT_LO, LIFT_HI = (f"{AGREEMENT}lift{end}" for end in ("", ".lo", ".hi"))
CEILING: Final = "labels.ceiling"

# What became of it.
GATE, GATE_EVIDENCE = "gate", "gate.evidence"
APPROVAL: Final = "approval"
TRUST: Final = "trust"
PROMOTED_AT, PROMOTED_BY, PROMOTED_OVER = (f"promoted.{what}" for what in ("at", "by", "over"))
JOURNAL_ENTRY: Final = "journal.entry"

# Of a model that carries an index, and of runs that answer from one.
ENCODER_VERSION, INDEX, CORPUS = "encoder.version", "index.id", "corpus.uri"
