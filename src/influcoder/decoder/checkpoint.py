"""Decoder checkpoints: found by a URI, loaded without remote code, known by their content."""

import copy
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from influcoder.core.errors import DecoderError
from influcoder.core.files import seen
from influcoder.core.loading import DATA_ONLY


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


def _tokenizer_content(tokenizer: PreTrainedTokenizerBase) -> str:
    """What decides about token ids: the backend's own description, or the vocabulary where there is none."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    content = json.loads(backend.to_str()) if backend is not None else tokenizer.get_vocab()
    if isinstance(content, dict):
        # Both are set by each call that pads or truncates; they are a state, not content.
        content = {key: value for key, value in content.items() if key not in ("padding", "truncation")}
    special = {key: str(value) for key, value in tokenizer.special_tokens_map.items()}
    return json.dumps([content, special], sort_keys=True)


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
