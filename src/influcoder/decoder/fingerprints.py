"""What is known of local decoders that were loaded on this machine, so that nobody loads one to know it again."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, ValidationError

from influcoder.core.errors import DecoderError
from influcoder.core.files import cache_folder, write_whole
from influcoder.decoder.addresses import local_files

if TYPE_CHECKING:
    from influcoder.decoder.checkpoint import Decoder


class Noted(BaseModel):
    """What a decoder was when it was loaded.

    Args:
        fingerprint: in float32, see `Decoder.fingerprint`.
        template: how its tokenizer writes a chat; None where it has no template, or several.
        tokens: special tokens that a template may name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    fingerprint: str
    template: str | None
    tokens: Mapping[str, str]

    def chat(self, prompt: str) -> str:
        """A prompt as the decoder is asked it; the prompt itself where there is no template."""
        if self.template is None:
            return prompt
        # What the tokenizer itself calls; it is imported without torch.
        from transformers.utils.chat_template_utils import render_jinja_template

        message = [{"role": "user", "content": prompt}]
        chats, _ = render_jinja_template(
            conversations=[message], chat_template=self.template, add_generation_prompt=True, **self.tokens
        )
        return str(chats[0])


def note(uri: str, decoder: "Decoder") -> None:
    """Note what a decoder is that was loaded from a local address in float32."""
    path, tokenizer = _path(uri), decoder.tokenizer
    if path is None or not isinstance(tokenizer.chat_template, str | None):
        return
    tokens = {name: str(token) for name, token in tokenizer.special_tokens_map.items()}
    known = Noted(fingerprint=decoder.fingerprint, template=tokenizer.chat_template or None, tokens=tokens)
    write_whole(path, known.model_dump_json().encode())


def noted(uri: str) -> Noted | None:
    """What is known of the decoder at a local address; None where these files were not loaded on this machine."""
    path = _path(uri)
    try:
        return Noted.model_validate_json(path.read_bytes()) if path is not None and path.is_file() else None
    except ValidationError:
        # Another version wrote it; it is noted anew when the decoder is loaded next.
        return None


def _path(uri: str) -> Path | None:
    if uri.startswith(("hf:", "s3://", "models:/")):
        return None
    try:
        # Names count: another folder with files of these sizes and times is another decoder.
        sign = [(str(Path(name).resolve()), *rest) for name, *rest in local_files(uri)]
    except DecoderError:
        return None
    name = hashlib.sha256(json.dumps(sign).encode()).hexdigest()
    return cache_folder() / "fingerprints" / f"{name[:20]}.json" if sign else None
