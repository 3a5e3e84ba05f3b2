"""What a checkpoint of the Trainer has to carry so that a resumed run goes on as if nothing had been."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from influcoder.attribution.steering.sampler import Segment
from influcoder.core.errors import IntegrityError, SampleError
from influcoder.samples import Sample

Array = np.ndarray
# Under which name it stands in `trainer_state.json`, and the version of what stands there.
KEY, VERSION = "influence", 1


@dataclass
class Steered:
    """Where the steering of a training stands.

    Args:
        digest: of the samples and queries.
        seed: of the sampler.
        segments: the sampler's.
        trusted: whether the estimates are.
        encoder: folder of an encoder that was made in the training, relative to its output folder; empty if none was.
        first: estimates and exact influence of the spot pairs when this encoder was first measured.
        measured: every measurement, as it was logged.
    """

    digest: str
    seed: int
    segments: Sequence[Segment] = ()
    trusted: bool = True
    encoder: str = ""
    first: tuple[Array, Array] | None = None
    measured: list[dict[str, float]] = field(default_factory=list)

    def packed(self) -> dict[str, Any]:
        """As JSON."""
        segments = [{"epoch": s.epoch, "start": s.start, "weights": _packed(s.weights)} for s in self.segments]
        first = None if self.first is None else [_packed(values) for values in self.first]
        plain = {name: getattr(self, name) for name in ("digest", "seed", "trusted", "encoder", "measured")}
        return {"version": VERSION, "segments": segments, "first": first, **plain}

    @classmethod
    def unpacked(cls, found: Mapping[str, Any], digest: str) -> "Steered":
        """From JSON.

        Args:
            found: what `packed` gave.
            digest: of the samples and queries that the resumed run was given.
        Raises:
            IntegrityError: it was written by another version, or is damaged.
            SampleError: the run had other samples or queries.
        """
        if found.get("version") != VERSION:
            raise IntegrityError(f"the checkpoint's steering is of version {found.get('version')}.")
        try:
            segments = [Segment(s["epoch"], s["start"], _unpacked(s["weights"])) for s in found["segments"]]
            first = None if found["first"] is None else tuple(_unpacked(values) for values in found["first"])
            plain = {name: found[name] for name in ("digest", "seed", "trusted", "encoder", "measured")}
            state = cls(**plain, segments=segments, first=first)  # type: ignore[arg-type]
        except (KeyError, TypeError, ValueError) as error:
            raise IntegrityError(f"the checkpoint's steering can't be read: {error!r}.", "Use an older one.") from error
        if state.digest != digest:
            raise SampleError(
                "the checkpoint was steered over other samples or queries.",
                "Resume with the same ones in the same order, or start a training of its own.",
            )
        return state


def digest_of(samples: Sequence[Sample], queries: Sequence[Sample]) -> str:
    """SHA-256 over the content of samples and queries, in their order."""
    parts = [str(len(samples)), *(sample.hash for sample in (*samples, *queries))]
    return hashlib.sha256("".join(parts).encode()).hexdigest()


def _packed(values: Array | None) -> dict[str, Any] | None:
    if values is None:
        return None
    plain = np.ascontiguousarray(values, np.float32)
    return {"shape": list(plain.shape), "float32": base64.b64encode(plain.tobytes()).decode()}


def _unpacked(found: Mapping[str, Any] | None) -> Array | None:
    if found is None:
        return None
    return np.frombuffer(base64.b64decode(found["float32"]), np.float32).reshape(found["shape"]).copy()
