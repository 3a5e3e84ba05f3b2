"""A closed form in NumPy alone, for one answer: importing what trains encoders takes longer than the answer.

The same arithmetic as `LexicalKernel`, which is stored with every encoder and so can't share it; a test holds both
against each other.
"""

import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from influcoder.core.errors import EncoderError
from influcoder.samples import Sample

Array = np.ndarray
Pair = tuple[str, str]
_KERNEL, _WEIGHTS, _WORDS = "LexicalKernel", "lexical.safetensors", "tokenizer.json"
_KINDS = [re.compile(kind) for kind in (r"\d", r"[^\w\s]|_", r"[A-Z]", r"\s")]
_WHITE, _GRAMS = re.compile(r"\s\s+"), (1, 2, 3)
_MASK = 0xFFFFFFFF


class BareEncoder:
    """A closed form.

    Args:
        folder: its sentence-transformers directory.
    Raises:
        EncoderError: it is an older one that looks at the decoder's hidden states too.
    """

    def __init__(self, folder: Path) -> None:
        self._arrays = load_file(folder / _WEIGHTS)
        if len(self._arrays.get("depths", ())):
            what = f"encoder {str(folder)!r} can't be loaded"
            raise EncoderError(f"{what}: it looks at hidden states, which are no longer an input; train again")
        self._tokenizer = Tokenizer.from_file(str(folder / _WORDS))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    def view(self, sample: Sample) -> Pair:
        """What the encoder sees of a sample."""
        return sample.context, sample.target

    def embed(self, views: Sequence[Pair]) -> Array:
        """Vectors of samples, shape (samples, directions), float32."""
        return np.stack([self._vector(*view) for view in views]).astype(np.float32)

    def _vector(self, context: str, target: str) -> Array:
        known = self._arrays
        apart = ((self._dense(context, target) - known["mean"]) * known["scale"])[None, :] - known["centres"]
        squares = np.square(apart).sum(1) + known["bandwidth"] * 2 * (1 - self._overlaps(target))
        return np.asarray(np.exp(-squares) @ known["coefficients"] + known["bias"])

    def _dense(self, context: str, target: str) -> Array:
        ids = [self._tokenizer.encode(text, add_special_tokens=False).ids for text in (context, target)]
        most = int(self._arrays["max_tokens"])
        kept = ids[1][: max(most - max(1, len(ids[0])), most // 2)]
        before = ids[0][max(0, len(ids[0]) - (most - len(kept))) :]
        parts = [np.array(_surface(text)) for text in (context, target)]
        return np.concatenate([*parts, *map(self._mean, (before, kept))]).astype(np.float32)

    def _mean(self, ids: Sequence[int]) -> Array:
        table = self._arrays["table"]
        return table[list(ids)].astype(np.float32).mean(axis=0) if len(ids) else np.zeros(table.shape[1], np.float32)

    def _overlaps(self, target: str) -> Array:
        """Cosine of the target's weighted n-grams with those of each centre, shape (centres,)."""
        idf, starts = self._arrays["idf"], self._arrays["gram_starts"]
        weights = np.zeros(len(idf))
        for bucket, count in _counts(target, len(idf)).items():
            weights[bucket] = (1 + np.log(count)) * idf[bucket]
        weights /= np.linalg.norm(weights) or 1.0
        shares = weights[self._arrays["gram_places"]] * self._arrays["gram_values"]
        rows = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
        return np.bincount(rows, shares, minlength=len(starts) - 1)


def is_closed_form(folder: Path) -> bool:
    """Whether a sentence-transformers directory holds a closed form."""
    modules = json.loads((folder / "modules.json").read_text())
    return str(modules[0]["type"]).rpartition(".")[2] == _KERNEL


def _surface(text: str) -> list[float]:
    size, words = max(1, len(text)), text.split()
    shares = [len(kind.findall(text)) / size for kind in _KINDS]
    lengths = [np.log1p(len(text)), np.log1p(len(words)), np.log1p(text.count("\n"))]
    return [*lengths, *shares, sum(map(len, words)) / max(1, len(words))]


def _counts(text: str, buckets: int) -> Counter[int]:
    """How often each bucket is hit by a character n-gram, as the hashing vectoriser of scikit-learn counts."""
    plain = _WHITE.sub(" ", text.lower())
    grams = Counter(plain[start : start + size] for size in _GRAMS for start in range(len(plain) - size + 1))
    found: Counter[int] = Counter()
    for gram, count in grams.items():
        found[abs(_murmur(gram.encode())) % buckets] += count
    return found


def _murmur(data: bytes) -> int:
    """MurmurHash3, 32 bits, seed 0, signed."""
    state = 0
    for start in range(0, len(data) - len(data) % 4, 4):
        state ^= _scrambled(int.from_bytes(data[start : start + 4], "little"))
        state = (_rotated(state, 13) * 5 + 0xE6546B64) & _MASK
    if rest := data[len(data) - len(data) % 4 :]:
        state ^= _scrambled(int.from_bytes(rest, "little"))
    state ^= len(data)
    state = ((state ^ (state >> 16)) * 0x85EBCA6B) & _MASK
    state = ((state ^ (state >> 13)) * 0xC2B2AE35) & _MASK
    state ^= state >> 16
    return state - 2**32 if state >= 2**31 else state


def _scrambled(word: int) -> int:
    return (_rotated((word * 0xCC9E2D51) & _MASK, 15) * 0x1B873593) & _MASK


def _rotated(word: int, bits: int) -> int:
    return ((word << bits) | (word >> (32 - bits))) & _MASK
