"""Text encoders: sentence-transformers directories, nothing of ours inside."""

import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from influcoder.errors import EncoderError
from influcoder.progress import progress
from influcoder.samples import Sample

Tensor = torch.Tensor
BATCH = 32


class Encoder:
    """An encoder of texts into unit vectors.

    Args:
        uri: a sentence-transformers directory, `package:NAME` (an installed package that carries one in its
            folder `model`) or `hf:NAME`.
        max_tokens: texts are cut off after so many tokens.
    Raises:
        EncoderError: there is no such encoder, or it can't be read.
    """

    def __init__(self, uri: str, max_tokens: int) -> None:
        from sentence_transformers import SentenceTransformer

        self.uri = uri
        try:
            self.model: Any = SentenceTransformer(_address(uri), device=_device(), trust_remote_code=False)
        except (OSError, ValueError, KeyError) as error:
            raise EncoderError(f"encoder {uri!r} can't be loaded: {str(error).splitlines()[0]}") from error
        self.model.max_seq_length = max_tokens

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Unit vectors of texts, shape (texts, dimensions), float32; longest texts first, in even batches."""
        order = sorted(range(len(texts)), key=lambda index: -len(texts[index]))
        groups = [order[start : start + BATCH] for start in range(0, len(order), BATCH)]
        vectors = np.zeros((len(texts), self.dimensions), np.float32)
        self.model.eval()
        with torch.inference_mode(), progress("embedding", len(texts)) as ticker:
            for group in groups:
                vectors[group] = self.forward([texts[index] for index in group]).cpu().numpy()
                ticker.advance(len(group))
        return vectors

    def forward(self, texts: Sequence[str]) -> Tensor:
        """Unit vectors of texts with their graph, shape (texts, dimensions)."""
        features = {name: value.to(self.model.device) for name, value in self._tokens(texts).items()}
        return torch.nn.functional.normalize(self.model(features)["sentence_embedding"].float(), dim=1)

    def scores(self, queries: Sequence[Sample], candidates: Sequence[Sample]) -> np.ndarray:
        """Cosines of queries and candidates, shape (queries, candidates)."""
        texts = list(dict.fromkeys(sample.text for sample in (*queries, *candidates)))
        vectors = dict(zip(texts, self.embed(texts), strict=True))
        left, right = (np.stack([vectors[sample.text] for sample in role]) for role in (queries, candidates))
        return np.clip(left @ right.T, -1, 1)

    @property
    def dimensions(self) -> int:
        """Length of a vector."""
        return int(self.model.get_embedding_dimension())

    def save(self, folder: Path) -> Path:
        """Write a sentence-transformers directory."""
        self.model.save(str(folder), safe_serialization=True)
        return folder

    def _tokens(self, texts: Sequence[str]) -> dict[str, Tensor]:
        return {name: value for name, value in self.model.preprocess(list(texts)).items() if torch.is_tensor(value)}


def _address(uri: str) -> str:
    if uri.startswith("hf:"):
        return uri[3:]
    folder = _packaged(uri[8:]) if uri.startswith("package:") else Path(uri)
    if not (folder / "modules.json").is_file():
        raise EncoderError(
            f"{uri!r} is no encoder: there is no modules.json.",
            "Name a sentence-transformers directory, package:NAME or hf:NAME.",
        )
    return os.fspath(folder)


def _packaged(package: str) -> Path:
    try:
        spec = importlib.util.find_spec(package)
    except ModuleNotFoundError:
        spec = None
    if spec is None or spec.origin is None:
        raise EncoderError(f"package:{package} is not installed.", f"Install {package}, or name another encoder.")
    return Path(spec.origin).parent / "model"


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"
