"""What an index costs and what it finds: a million vectors searched, a corpus built from end to end.

The vectors are real ones, multiplied: an encoder in closed form is solved from exact labels and embeds a corpus; each
further vector lies between one of those and one of its ten nearest neighbours, at a random place, and a tenth of the
distance is added as noise of the same covariance. Queries are samples that were held out, and their opposites.

Example: python -m bench.index.run --rows 1000000; --peers FOLDER names a folder that usearch is installed in.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bench.common import Bench, options_parser, prepare, table
from bench.index.growth import VERSION
from influcoder.encoder import Encoder
from influcoder.encoder.kernel_solver import TrainingSamples, solve
from influcoder.index import Embedder, Index
from influcoder.index.build import build
from influcoder.index.search import RECALL_AT, Searcher, make_segment, segment_rows
from influcoder.samples import Sample, read_corpus
from influcoder.settings.teacher import TeacherSpec
from influcoder.storage.folder import Folder

Array = np.ndarray
Search = Callable[[Array], Array]
QUERIES, NEIGHBOURS, NOISE = 200, 10, 0.1


def main() -> None:
    """Measure and print."""
    options = _options()
    bench = prepare(options)
    encoder = _encoder(bench, options.max_tokens)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        built = _end_to_end(encoder, options.pool, folder)
        real = _vectors(folder, built[0])
        held, base = _split(real)
        pool = _multiplied(base, options.rows)
        queries = np.concatenate([held, -held])
        rows = _searches(pool, queries, folder, options.peers)
    about = (
        f"{options.rows} vectors of {pool.shape[1]} dimensions, multiplied from {len(base)} embeddings of "
        f"`{options.pool}` (closed form from {len(bench.queries) + len(bench.candidates)} labelled samples); half of "
        f"the squared length is in {_half(real)} directions, in {_half(pool[:20_000])} after multiplying. "
        f"{len(held)} held-out samples and their opposites, {RECALL_AT} results each, one query at a time, on "
        f"{_threads()} threads of a machine that others used too."
    )
    head = ("search", "p50 ms", "p99 ms", f"recall@{RECALL_AT}", "of the least", "bytes a sample", "build s")
    table(head, rows, "index", f"{about}\n\n{_build_words(built, options)}")


def _options() -> argparse.Namespace:
    parser = options_parser(__doc__, 30, 70)
    parser.add_argument("--rows", type=int, default=1_000_000, help="vectors that are searched")
    parser.add_argument("--pool", default="docs:numpy,scipy,pandas", help="corpus that is indexed")
    parser.add_argument("--peers", type=Path, help="a folder that usearch is installed in")
    return parser.parse_args()


def _encoder(bench: Bench, max_tokens: int) -> Encoder:
    (features,) = bench.features([TeacherSpec(max_tokens=max_tokens)])
    features = features.astype(np.float32)
    labels = features @ features.T
    np.fill_diagonal(labels, np.nan)
    queries = np.arange(len(bench.queries))
    candidates = np.arange(len(queries), len(features))
    lessons = TrainingSamples([*bench.queries, *bench.candidates], labels, queries, candidates)
    return Encoder.of(solve(lessons, bench.decoder, max_tokens, 0)[0])


def _end_to_end(encoder: Encoder, pool: str, folder: Path) -> tuple[Index, float, float, float]:
    """The index of a corpus in a folder; seconds to build it, again, and with one sample more."""
    store, embedder = Folder(folder / "store"), Embedder(files="0" * 64)
    samples = read_corpus(pool).samples
    seconds = []
    for more in (0, 0, 1):
        path = folder / "pool.jsonl"
        extra = [Sample("new", "What is new?", "One more sample, which nobody has embedded.")] * more
        lines = [{"id": s.id, "context": s.context, "target": s.target, "text": s.text} for s in (*samples, *extra)]
        path.write_text("\n".join(map(json.dumps, lines)))
        start = time.perf_counter()
        found = build(store, VERSION, encoder, embedder, str(path))
        seconds.append(time.perf_counter() - start)
    return Index(store, found.manifest), *seconds


def _vectors(folder: Path, index: Index) -> Array:
    whole = np.zeros((len(index), index.manifest.dimensions), np.float32)
    for rows, vectors in index.vectors():
        whole[rows] = vectors
    return whole


def _split(real: Array) -> tuple[Array, Array]:
    order = np.random.default_rng(0).permutation(len(real))
    return real[order[:QUERIES]], real[order[QUERIES:]]


def _multiplied(base: Array, rows: int) -> Array:
    """Vectors between neighbours, half precision, shape (rows, dimensions); see the top of this file."""
    draw = np.random.default_rng(1)
    near = np.argsort(((base**2).sum(1)[None, :] - 2 * base @ base.T), axis=1)[:, 1 : NEIGHBOURS + 1]
    root = np.linalg.cholesky(np.cov((base - base[near[:, 0]]).T) + 1e-9 * np.eye(base.shape[1]))
    made = np.zeros((rows, base.shape[1]), np.float16)
    for first in range(0, rows, 50_000):
        size = min(50_000, rows - first)
        one = draw.integers(0, len(base), size)
        other = near[one, draw.integers(0, NEIGHBOURS, size)]
        place = draw.uniform(0, 1, (size, 1))
        noise = NOISE * draw.standard_normal((size, base.shape[1])) @ root.T
        made[first : first + size] = base[one] + place * (base[other] - base[one]) + noise
    return made


def _searches(pool: Array, queries: Array, folder: Path, peers: Path | None) -> list[list[str]]:
    whole = pool.astype(np.float32)
    exact, times = _timed(lambda query: np.argpartition(-(whole @ query), RECALL_AT)[:RECALL_AT], queries)
    found = [("numpy, exact", exact, times, 4 * pool.shape[1], 0.0)]
    found.append(_ours(pool, queries, folder))
    if peers:
        found += _usearch(whole, queries, peers)
    return [_row(name, got, ms, exact, size, seconds) for name, got, ms, size, seconds in found]


def _ours(pool: Array, queries: Array, folder: Path) -> tuple[str, Array, Array, float, float]:
    start, size, parts, searchers = time.perf_counter(), segment_rows(pool.shape[1]), [], []
    for first in range(0, len(pool), size):
        path = folder / f"{first}.faiss"
        parts.append((first, path, make_segment(pool[first : first + size], path)))
    seconds = time.perf_counter() - start
    searchers = [(first, Searcher(path, made.probes)) for first, path, made in parts]

    def best(query: Array) -> Array:
        found = [
            (scores[0], rows[0] + first)
            for first, one in searchers
            for scores, rows in [one.best(query[None], RECALL_AT)]
        ]
        scores, rows = (np.concatenate(part) for part in zip(*found, strict=True))
        return rows[np.argsort(-scores)[:RECALL_AT]]

    got, times = _timed(best, queries)
    lists = ", ".join(f"{made.probes} of {made.lists}" for _, _, made in parts)
    bytes_each = sum(path.stat().st_size for _, path, _ in parts) / len(pool)
    return (
        f"ours: FAISS inverted file, half precision, mapped; lists looked at: {lists}",
        got,
        times,
        bytes_each,
        seconds,
    )


def _usearch(whole: Array, queries: Array, peers: Path) -> list[tuple[str, Array, Array, float, float]]:
    sys.path.append(str(peers))
    from usearch.index import Index as Graph

    graph = Graph(ndim=whole.shape[1], metric="ip", dtype="f16", connectivity=16, expansion_add=128)
    start = time.perf_counter()
    graph.add(np.arange(len(whole)), whole, threads=_threads())
    seconds, found = time.perf_counter() - start, []
    for width in (128, 1024):
        graph.expansion_search = width
        got, times = _timed(lambda query: np.array(graph.search(query, RECALL_AT).keys), queries)
        found.append(
            (f"usearch, HNSW, half precision, width {width}", got, times, graph.serialized_length / len(whole), seconds)
        )
    return found


def _timed(search: Search, queries: Array) -> tuple[Array, Array]:
    for query in queries[:5]:
        search(query)
    found, times = [], []
    for query in queries:
        start = time.perf_counter()
        found.append(search(query))
        times.append(1000 * (time.perf_counter() - start))
    return np.stack(found), np.array(times)


def _row(name: str, got: Array, times: Array, exact: Array, size: float, seconds: float) -> list[str]:
    shares = [len(set(a) & set(b)) / RECALL_AT for a, b in zip(got.tolist(), exact.tolist(), strict=True)]
    half = len(shares) // 2
    p50, p99 = np.percentile(times, [50, 99])
    recalls = (f"{np.mean(part):.3f}" for part in (shares[:half], shares[half:]))
    return [name, f"{p50:.1f}", f"{p99:.1f}", *recalls, f"{size:.0f}", f"{seconds:.0f}"]


def _build_words(built: tuple[Index, float, float, float], options: argparse.Namespace) -> str:
    index, first, again, more = built
    found = index.manifest
    return (
        f"From end to end, `{options.pool}` as a file ({found.rows} samples): {first:.0f} s, "
        f"{found.rows / first:.0f} samples a second; again without a change {again:.1f} s; with one sample more "
        f"{more:.1f} s. In the store {found.bytes / found.rows:.0f} bytes a sample, "
        f"{sum(part.bytes for part in found.segments) / found.rows:.0f} of them vectors and lists."
    )


def _half(vectors: Array) -> int:
    values = np.linalg.eigvalsh(vectors.astype(np.float32).T @ vectors.astype(np.float32))[::-1]
    return int(np.searchsorted(np.cumsum(values) / values.sum(), 0.5)) + 1


def _threads() -> int:
    import faiss

    return int(faiss.omp_get_max_threads())


if __name__ == "__main__":
    main()
