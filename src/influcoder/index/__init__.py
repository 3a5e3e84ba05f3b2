"""One index of a corpus, many questions: vectors and samples of a pool, published once, searched in milliseconds."""

from typing import TYPE_CHECKING

from influcoder.core.lazy import lazily

if TYPE_CHECKING:
    from influcoder.index.manifest import Embedder, Identity, Manifest, Origin, load_manifest, manifests
    from influcoder.index.reader import Index

__all__ = ["Embedder", "Identity", "Index", "Manifest", "Origin", "load_manifest", "manifests"]

__getattr__ = lazily(__name__, manifest="Embedder Identity Manifest Origin load_manifest manifests", reader="Index")
