"""An encoder whose weights are a closed form: what a text looks like, weighed against the texts that were labelled.

A gradient is a sum over the target's tokens, so what a sample is made of (which tokens, how long, how formatted) says
much of where its gradient points, and a few hundred labels are enough to learn that from. A sample is shown as the
mean of the decoder's own token embeddings over context and over target, surface features of both, and the character
n-grams of the target. A Gaussian kernel holds it against every labelled sample, and kernel ridge regression turns
that into coordinates along the leading directions of the labels.

This file is stored with every encoder of its kind and imports nothing of ours, so that a directory loads elsewhere:
`SentenceTransformer(folder, trust_remote_code=True).encode([(context, target), ...])`.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from scipy.sparse import csr_matrix
from sentence_transformers.base.modules.input_module import InputModule
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.preprocessing import normalize
from tokenizers import Tokenizer

Tensor = torch.Tensor
Pair = tuple[str, str]
BUCKETS = 2**16
GRAMS = (1, 3)
# Length and format of one segment: characters, words, lines; digits, symbols, capitals, spaces; length of a word.
SURFACE = 8
_KINDS = [re.compile(kind) for kind in (r"\d", r"[^\w\s]|_", r"[A-Z]", r"\s")]
HUB = ("subfolder", "token", "cache_folder", "revision", "local_files_only")
WEIGHTS, WORDS = "lexical.safetensors", "tokenizer.json"


class LexicalKernel(InputModule):
    """Pairs of context and target in, coordinates of their influence out; inner products estimate influence.

    Args:
        tokenizer: the decoder's.
        arrays: `table` (token embeddings, shape (vocabulary, width)); `mean` and `scale` of the dense features,
            shape (features,); `idf`, shape (buckets,); `centres`, the scaled dense features of the labelled samples,
            shape (centres, features); their n-grams as `gram_values`, `gram_places`, `gram_starts` (a sparse matrix by
            rows); `coefficients`, shape (centres, directions); `bias`, shape (directions,); `bandwidth`, a number that
            the n-grams' part of a distance is multiplied with; `max_tokens`, what the decoder saw of a sample.
    """

    def __init__(self, tokenizer: Tokenizer, arrays: dict[str, Tensor]) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        for name, values in arrays.items():
            self.register_buffer(name, values)
        self._grams = csr_matrix(
            tuple(arrays[f"gram_{name}"].numpy() for name in ("values", "places", "starts")),
            shape=(len(arrays["centres"]), BUCKETS),
        )
        # Words are looked up by the host: on a GPU every batch, and every single question, would fetch the whole table.
        self._table, self._idf = arrays["table"].numpy(), arrays["idf"].numpy()
        self._seen = int(arrays["max_tokens"])

    def preprocess(self, inputs: Sequence[Any], prompt: str | None = None, **_more: Any) -> dict[str, Tensor]:
        """Dense features and n-gram overlaps with every centre; a lone string is a target without context."""
        pairs = [("", item) if isinstance(item, str) else (item[0], item[1]) for item in inputs]
        dense = dense_features(self.tokenizer, self._table, pairs, self._seen)
        overlaps = n_grams(pairs, self._idf) @ self._grams.T
        return {
            "dense": torch.from_numpy(dense.astype(np.float32)),
            "overlaps": torch.from_numpy(overlaps.toarray().astype(np.float32)),
        }

    def forward(self, features: dict[str, Tensor], **_more: Any) -> dict[str, Tensor]:
        """Adds `sentence_embedding`, shape (samples, directions)."""
        dense = (features["dense"] - self.mean) * self.scale
        squares = torch.cdist(dense, self.centres).square() + self.bandwidth * 2 * (1 - features["overlaps"])
        features["sentence_embedding"] = torch.exp(-squares) @ self.coefficients + self.bias
        return features

    def get_embedding_dimension(self) -> int:
        """Number of directions."""
        return len(self.bias)

    @property
    def max_seq_length(self) -> int:
        """What the decoder saw of a sample, in its tokens."""
        return self._seen

    def save(self, output_path: str, *_rest: Any, **_more: Any) -> None:
        """Write arrays and tokenizer."""
        arrays = {name: values.contiguous().cpu() for name, values in self.named_buffers()}
        save_file(arrays, str(Path(output_path, WEIGHTS)))
        self.tokenizer.save(str(Path(output_path, WORDS)))

    @classmethod
    def load(cls, model_name_or_path: str, **more: Any) -> "LexicalKernel":
        """Read a directory, or a model of a hub.

        Raises:
            ValueError: it is an older one that looks at the decoder's hidden states too.
        """
        options = {name: more[name] for name in HUB if name in more}
        weights, words = (cls.load_file_path(model_name_or_path, filename=name, **options) for name in (WEIGHTS, WORDS))
        arrays = load_file(weights)
        # Older encoders name the depths of the decoder at which they look; most of them name none.
        if len(arrays.pop("depths", ())):
            raise ValueError("it looks at hidden states, which are no longer an input; train again")
        return cls(Tokenizer.from_file(words), arrays)


def dense_features(tokenizer: Tokenizer, table: np.ndarray, pairs: Sequence[Pair], max_tokens: int) -> np.ndarray:
    """Surface features and mean token embeddings of context and target.

    Args:
        tokenizer: the decoder's.
        table: token embeddings, shape (vocabulary, width).
        pairs: context and target of each sample.
        max_tokens: what the decoder saw of a sample: the target's beginning and the context's end.
    Returns:
        shape (samples, 2 · surface features + 2 · width): both surfaces, then both means.
    """
    ids = [
        [item.ids for item in tokenizer.encode_batch([pair[side] for pair in pairs], add_special_tokens=False)]
        for side in (0, 1)
    ]
    seen = [window(context, target, max_tokens) for context, target in zip(*ids, strict=True)]
    means = [np.stack([_mean(table, pair[side]) for pair in seen]) for side in (0, 1)]
    surfaces = [np.array([surface(pair[side]) for pair in pairs]) for side in (0, 1)]
    return np.concatenate([*surfaces, *means], axis=1)


def window(context: Sequence[int], target: Sequence[int], max_tokens: int) -> tuple[Sequence[int], Sequence[int]]:
    """The tokens of context and target that the decoder saw.

    The target keeps its beginning and at least half of the room, the context its end.
    """
    kept = target[: max(max_tokens - max(1, len(context)), max_tokens // 2)]
    return context[max(0, len(context) - (max_tokens - len(kept))) :], kept


def surface(text: str) -> list[float]:
    """Length and format of a text, eight numbers."""
    size, words = max(1, len(text)), text.split()
    shares = [len(kind.findall(text)) / size for kind in _KINDS]
    lengths = [np.log1p(len(text)), np.log1p(len(words)), np.log1p(text.count("\n"))]
    return [*lengths, *shares, sum(map(len, words)) / max(1, len(words))]


def counts(pairs: Sequence[Pair]) -> csr_matrix:
    """Hashed character n-grams of the targets, dampened counts, shape (samples, buckets)."""
    hashing = HashingVectorizer(analyzer="char", ngram_range=GRAMS, n_features=BUCKETS, norm=None, alternate_sign=False)
    found = hashing.transform([target for _, target in pairs]).astype(np.float64)
    found.data = 1 + np.log(found.data)
    return found


def inverse_frequencies(found: csr_matrix) -> np.ndarray:
    """Smoothed inverse document frequency of each bucket over samples (Manning et al. 2008, section 6.2.1)."""
    documents = np.bincount(found.indices, minlength=BUCKETS)
    return np.log((1 + found.shape[0]) / (1 + documents)) + 1


def n_grams(pairs: Sequence[Pair], idf: np.ndarray) -> csr_matrix:
    """Weighted n-grams of the targets, rows of unit length, shape (samples, buckets)."""
    return normalize(counts(pairs).multiply(idf[None, :]).tocsr())


def _mean(table: np.ndarray, ids: Sequence[int]) -> np.ndarray:
    # The few rows that count are widened, not the whole table for every batch.
    return table[list(ids)].astype(np.float32).mean(axis=0) if len(ids) else np.zeros(table.shape[1], np.float32)
