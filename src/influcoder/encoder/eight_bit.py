"""A text encoder's transformer in eight-bit integers, for processors: ONNX Runtime computes it."""

import hashlib
import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers.modeling_outputs import BaseModelOutput

from influcoder.core.errors import EncoderError

_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


class EightBit(torch.nn.Module):
    """The last hidden states of a transformer whose weights are integers of eight bits, scaled by output channel.

    Args:
        path: the ONNX file.
        config: of the transformer that it was made from.
    """

    def __init__(self, path: Path, config: Any) -> None:
        super().__init__()
        from onnxruntime import InferenceSession, SessionOptions

        self.config = config
        options = SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        self._session = InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._names = [item.name for item in self._session.get_inputs()]

    def forward(self, **features: Any) -> BaseModelOutput:
        """Hidden states, shape (texts, tokens, width), of token ids and their mask, shape (texts, tokens)."""
        inputs = {name: features[name].cpu().numpy() for name in self._names}
        (states,) = self._session.run(None, inputs)
        return BaseModelOutput(last_hidden_state=torch.from_numpy(states).to(features["attention_mask"].device))


def put_in_eight_bits(model: Any, cache: Path) -> None:
    """Let the transformer of a sentence-transformers model compute in eight bits; it can't be trained any more then.

    Args:
        model: whose first module is a transformer.
        cache: where the ONNX file is kept, named by the weights.
    Raises:
        EncoderError: onnx and onnxruntime are not installed, or the transformer can't be exported.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise EncoderError(
            "eight-bit encoders need ONNX Runtime.", "Run: pip install 'influcoder[onnx]', or set precision = float32"
        ) from error
    transformer = model[0]
    path = cache / f"{_digest(transformer.auto_model)}.onnx"
    if not path.is_file():
        _export(model, path)
    transformer.model = EightBit(path, transformer.auto_model.config)


def _export(model: Any, path: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    features = model.preprocess(["a text", "a text that is longer"])
    names = [name for name in _INPUTS if name in features]
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder, warnings.catch_warnings(), _quiet():
        # The exporter by tracing: the newer one brings two more packages, and gives the same operators.
        warnings.simplefilter("ignore")
        whole, small = Path(folder, "whole.onnx"), Path(folder, "small.onnx")
        try:
            torch.onnx.export(
                _Bare(model[0].auto_model, names),
                tuple(features[name].to(model.device) for name in names),
                str(whole),
                input_names=names,
                output_names=["states"],
                dynamic_axes={name: {0: "texts", 1: "tokens"} for name in (*names, "states")},
                dynamo=False,
            )
            # Scales by channel: one scale a matrix costs ten times the error.
            quantize_dynamic(str(whole), str(small), weight_type=QuantType.QInt8, per_channel=True)
        except (RuntimeError, ValueError, TypeError) as error:
            raise EncoderError(
                f"the encoder can't be exported to ONNX: {str(error).splitlines()[0]}",
                "Set encoder.precision = float32.",
            ) from error
        small.rename(path)


@contextmanager
def _quiet() -> Iterator[None]:
    """ONNX Runtime's advice to prepare a graph for quantisation is for those of images."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


class _Bare(torch.nn.Module):
    """Tensors in, one tensor out."""

    def __init__(self, model: Any, names: list[str]) -> None:
        super().__init__()
        self._model, self._names = model, names

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self._model(**dict(zip(self._names, tensors, strict=True))).last_hidden_state
        return found


def _digest(model: torch.nn.Module) -> str:
    """SHA-256 over the weights, as far as it names a file."""
    whole = hashlib.sha256(b"int8 by channel")
    for name, tensor in sorted(model.state_dict().items()):
        whole.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        whole.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return whole.hexdigest()[:32]
