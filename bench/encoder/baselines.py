"""What an encoder has to beat: scores that need no training, or none but a closed form."""

from collections.abc import Sequence

import numpy as np

from bench.encoder.setting import Setting
from influcoder.encoder import lexical

Scores = np.ndarray


def random(setting: Setting, block: str, seed: int) -> Scores:
    """Standard normal noise, shape (queries, candidates)."""
    rows = setting.blocks[block]
    return np.random.default_rng(seed).standard_normal((len(rows.queries), len(rows.candidates)))


def bm25(setting: Setting, block: str) -> Scores:
    """Okapi BM25 of each query's text against the candidates' (bm25s, English stop words left out)."""
    import bm25s

    rows = setting.blocks[block]
    index = bm25s.BM25()
    corpus = [setting.texts[row] for row in rows.candidates]
    index.index(bm25s.tokenize(corpus, stopwords="en", show_progress=False), show_progress=False)
    queries = bm25s.tokenize(
        [setting.texts[row] for row in rows.queries], stopwords="en", return_ids=False, show_progress=False
    )
    # A query of stop words alone finds nothing.
    return np.stack([index.get_scores(query) if query else np.zeros(len(corpus)) for query in queries])


def tfidf(setting: Setting, block: str) -> Scores:
    """Cosines of TF-IDF vectors whose weights come from the block's candidates."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    rows = setting.blocks[block]
    vectorizer = TfidfVectorizer(sublinear_tf=True)
    candidates = vectorizer.fit_transform([setting.texts[row] for row in rows.candidates])
    return (vectorizer.transform([setting.texts[row] for row in rows.queries]) @ candidates.T).toarray()


def cosines(vectors: np.ndarray, setting: Setting, block: str) -> Scores:
    """Cosines of a block's queries and candidates, from a vector for every sample of the setting."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-12)
    rows = setting.blocks[block]
    return unit[rows.queries] @ unit[rows.candidates].T


def products(vectors: np.ndarray, setting: Setting, block: str) -> Scores:
    """Inner products of a block's queries and candidates, from a vector for every sample of the setting."""
    rows = setting.blocks[block]
    return vectors[rows.queries] @ vectors[rows.candidates].T


def surfaces(setting: Setting) -> np.ndarray:
    """Length and format of context and target, shape (samples, 16)."""
    return np.array([lexical.surface(sample.context) + lexical.surface(sample.target) for sample in setting.samples])


def standardised(values: np.ndarray, rows: Sequence[int] | np.ndarray) -> np.ndarray:
    """Columns with mean 0 and deviation 1 over some rows."""
    return (values - values[rows].mean(0)) / values[rows].std(0).clip(1e-6)


def ridge(inputs: np.ndarray, gram: np.ndarray, rows: np.ndarray, directions: int, penalty: float) -> np.ndarray:
    """Predicted coordinates along the leading principal directions of the training features, for every sample.

    Args:
        inputs: what is regressed on, shape (samples, columns).
        gram: exact influence of all samples on all, shape (samples, samples).
        rows: the samples of training.
        directions: how many directions.
        penalty: ridge penalty, relative to the mean squared length of the standardised inputs.
    """
    x = standardised(inputs.astype(np.float64), rows)
    values, vectors = np.linalg.eigh(gram[np.ix_(rows, rows)].astype(np.float64))
    targets = vectors[:, -directions:] * np.sqrt(values[-directions:])
    train = x[rows]
    gram = train.T @ train + penalty * len(rows) * np.eye(x.shape[1])
    return targets.mean(0) + x @ np.linalg.solve(gram, train.T @ (targets - targets.mean(0)))
