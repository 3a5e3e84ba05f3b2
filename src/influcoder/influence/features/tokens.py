"""From samples to token ids, with the target never truncated away."""

from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from influcoder.samples import Sample


@dataclass(frozen=True)
class Tokens:
    """One sample as the decoder sees it.

    Args:
        ids: token ids, context first.
        target_start: index of the first target token; at least 1, since the first token of a sequence
            is predicted from nothing.
        cut: share of the sample's tokens that the length limit cut away, 0 to 1.
    """

    ids: tuple[int, ...]
    target_start: int
    cut: float

    def __len__(self) -> int:
        return len(self.ids)


def tokenize(tokenizer: PreTrainedTokenizerBase, sample: Sample, max_tokens: int) -> Tokens:
    """Tokens of one sample, at most `max_tokens` of them.

    Of a sample that is too long the target keeps its beginning and at least half of the room; the
    context keeps its end, which stands next to the target.
    """
    context = tokenizer(sample.context, add_special_tokens=False)["input_ids"] if sample.context else []
    target = tokenizer(sample.target, add_special_tokens=False)["input_ids"]
    if not context:
        context = [_start_token(tokenizer)]
    full = len(context) + len(target)
    kept_target = target[: max(max_tokens - len(context), max_tokens // 2)]
    kept_context = context[-(max_tokens - len(kept_target)) :]
    ids = (*kept_context, *kept_target)
    return Tokens(ids, len(kept_context), 1 - len(ids) / full)


def _start_token(tokenizer: PreTrainedTokenizerBase) -> int:
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        token = getattr(tokenizer, name)
        if token is not None:
            return int(token)
    return 0
