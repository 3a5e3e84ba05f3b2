"""Encoders: sentence-transformers directories that load without this package."""

import importlib.util
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from influcoder.core.errors import EncoderError
from influcoder.core.loading import DATA_ONLY, LOAD_ERRORS, WEIGHTS_ONLY, refusal, wants_code
from influcoder.core.progress import progress
from influcoder.samples import Sample

if TYPE_CHECKING:
    from influcoder.encoder.lexical import LexicalKernel

Tensor = torch.Tensor
BATCH = 32
# A text, or context and target apart.
View = str | tuple[str, str]
_MODULES, _CODE, _KERNEL = "modules.json", "lexical.py", "LexicalKernel"
_LIBRARY = "sentence_transformers."


class Encoder:
    """An encoder of samples into vectors whose inner products estimate influence.

    Vectors of a text encoder have length 1. Those of a closed form are shorter, the less is known of a sample.

    Args:
        uri: a sentence-transformers directory, `package:NAME` (an installed package that carries one in its
            folder `model`) or `hf:NAME`.
        max_tokens: a text encoder's texts are cut off after so many tokens.
    Attributes:
        in_closed_form: whether it was solved for, and sees context and target apart.
    Raises:
        EncoderError: there is no such encoder, or it can't be read.
    """

    def __init__(self, uri: str, max_tokens: int) -> None:
        self.uri = uri
        address = _address(uri)
        try:
            kinds = _kinds(address)
            self.in_closed_form = kinds != [] and kinds[0].rpartition(".")[2] == _KERNEL
            foreign = [kind for kind in kinds[self.in_closed_form :] if not kind.startswith(_LIBRARY)]
            if foreign:
                raise EncoderError(*wants_code(f"encoder {uri!r}", foreign[0]))
            self.model = _model(address, self.in_closed_form)
        except LOAD_ERRORS as error:
            raise EncoderError(*refusal(f"encoder {uri!r}", error)) from error
        if not self.in_closed_form:
            self.model.max_seq_length = max_tokens

    @classmethod
    def of(cls, kernel: "LexicalKernel") -> "Encoder":
        """The encoder that a closed form is."""
        encoder = cls.__new__(cls)
        encoder.uri, encoder.in_closed_form = "closed form", True
        encoder.model = _around(kernel)
        return encoder

    def view(self, sample: Sample) -> View:
        """What the encoder sees of a sample."""
        return (sample.context, sample.target) if self.in_closed_form else sample.text

    def embed(self, views: Sequence[View]) -> np.ndarray:
        """Vectors of samples, shape (samples, dimensions), float32; longest first, in even batches.

        Args:
            views: texts, or pairs of context and target; see `view`.
        """
        order = sorted(range(len(views)), key=lambda index: -sum(map(len, views[index])))
        groups = [order[start : start + BATCH] for start in range(0, len(order), BATCH)]
        vectors = np.zeros((len(views), self.dimensions), np.float32)
        self.model.eval()
        with torch.inference_mode(), progress("embedding", len(views)) as ticker:
            for group in groups:
                vectors[group] = self.forward([views[index] for index in group]).cpu().numpy()
                ticker.advance(len(group))
        return vectors

    def forward(self, views: Sequence[View]) -> Tensor:
        """Vectors of samples with their graph, shape (samples, dimensions)."""
        features = {name: value.to(self.model.device) for name, value in self._tokens(views).items()}
        found = self.model(features)["sentence_embedding"].float()
        return found if self.in_closed_form else torch.nn.functional.normalize(found, dim=1)

    def scores(self, queries: Sequence[Sample], candidates: Sequence[Sample]) -> np.ndarray:
        """Estimated influence of each candidate on each query, shape (queries, candidates), between -1 and 1."""
        views = list(dict.fromkeys(self.view(sample) for sample in (*queries, *candidates)))
        vectors = dict(zip(views, self.embed(views), strict=True))
        left, right = (np.stack([vectors[self.view(sample)] for sample in role]) for role in (queries, candidates))
        return np.clip(left @ right.T, -1, 1)

    @property
    def dimensions(self) -> int:
        """Length of a vector."""
        return int(self.model.get_embedding_dimension())

    def save(self, folder: Path) -> Path:
        """Write a sentence-transformers directory; one of a closed form carries the code that it needs."""
        self.model.save(str(folder), safe_serialization=True)
        if self.in_closed_form:
            shutil.copy(Path(__file__).with_name(_CODE), folder / _CODE)
            modules = json.loads((folder / _MODULES).read_text())
            modules[0]["type"] = f"{Path(_CODE).stem}.{_KERNEL}"
            (folder / _MODULES).write_text(json.dumps(modules, indent=2))
        return folder

    def _tokens(self, views: Sequence[View]) -> dict[str, Tensor]:
        return {name: value for name, value in self.model.preprocess(list(views)).items() if torch.is_tensor(value)}


def _kinds(address: str) -> list[str]:
    """The classes of a directory's modules, first to last; none of a model of a hub."""
    modules = Path(address, _MODULES)
    return [str(module["type"]) for module in json.loads(modules.read_text())] if modules.is_file() else []


def _model(address: str, in_closed_form: bool) -> Any:
    """The model of a directory or a hub; a closed form runs by the code of this package, never by the directory's."""
    if in_closed_form:
        from influcoder.encoder.lexical import LexicalKernel

        return _around(LexicalKernel.load(address))
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(address, device=_device(), model_kwargs=WEIGHTS_ONLY, **DATA_ONLY)


def _around(kernel: "LexicalKernel") -> Any:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(modules=[kernel], device=_device(), similarity_fn_name="dot")


def _address(uri: str) -> str:
    if uri.startswith("hf:"):
        return uri[3:]
    folder = _packaged(uri[8:]) if uri.startswith("package:") else Path(uri)
    if not (folder / _MODULES).is_file():
        raise EncoderError(
            f"{uri!r} is no encoder: there is no modules.json.",
            "Name a sentence-transformers directory, package:NAME or hf:NAME.",
        )
    return os.fspath(folder)


def _packaged(package: str) -> Path:
    try:
        # The parents of a dotted name would be imported.
        spec = importlib.util.find_spec(package) if package.isidentifier() else None
    except ModuleNotFoundError:
        spec = None
    if spec is None or spec.origin is None:
        raise EncoderError(f"package:{package} is not installed.", f"Install {package}, or name another encoder.")
    return Path(spec.origin).parent / "model"


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"
