"""A corpus, a tokenizer and models that are small enough to be made again in every process."""

import json
import random
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import BertConfig, BertModel, GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

TOPICS = {
    "sea": ["anchor", "harbour", "sail", "tide", "captain", "mast", "cargo", "keel", "lantern", "rope", "storm"],
    "kitchen": ["oven", "flour", "butter", "whisk", "spoon", "sugar", "kettle", "dough", "pepper", "basil", "ladle"],
    "orbit": ["rocket", "satellite", "capsule", "moon", "antenna", "telescope", "comet", "gravity", "probe", "radar"],
}
WORDS = [word for words in TOPICS.values() for word in words]
VOCABULARY = 400


def write_jsonl(path: Path, records) -> str:
    """Records as JSON Lines; the path as settings and readers take it."""
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8")
    return str(path)


def gpt2(vocabulary: int) -> GPT2LMHeadModel:
    """A decoder with biases and with Conv1D in the place of linear layers."""
    return GPT2LMHeadModel(GPT2Config(vocab_size=vocabulary, n_embd=32, n_layer=2, n_head=4, initializer_range=0.2))


def write_corpus(path: Path, scrambled: bool, rows: int = 900, words: tuple[int, int] = (8, 24)) -> Path:
    """Short stories of three topics, each its own source, as JSON Lines.

    Args:
        path: the file that is written.
        scrambled: whether what a text encoder and BM25 see tells nothing, so that only a closed form beats the floor.
        rows: how many stories.
        words: the fewest and the most of a story.
    """
    draw, records = random.Random(7), []
    for number in range(rows):
        topic = draw.choice(sorted(TOPICS))
        target = " ".join(draw.choices(TOPICS[topic], k=draw.randint(*words)))
        record = {"id": str(number), "context": "Tell a story: ", "target": target, "source": topic}
        if scrambled:
            record["text"] = " ".join(draw.choices(WORDS, k=16)) + f" {number}"
        records.append(record)
    return Path(write_jsonl(path, records))


def train_tokenizer(texts) -> PreTrainedTokenizerFast:
    """A byte-level BPE: any text has tokens, and none is unknown."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<|end|>", "<|pad|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|end|>", pad_token="<|pad|>")


def write_encoder(folder: Path, tokenizer_of=train_tokenizer, seed: int = 3, **changes) -> Path:
    """A sentence-transformers directory with random weights, the same in every process.

    Args:
        folder: where it is written, beside what it is made of.
        tokenizer_of: makes the tokenizer from texts.
        seed: of the weights.
        changes: what is to be other in the BERT's configuration.
    """
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    tokenizer = tokenizer_of(" ".join(words) for words in TOPICS.values())
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = BertConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=64,
        pad_token_id=tokenizer.pad_token_id,
        **(shape | changes),
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        BertModel(config).save_pretrained(folder / "bert")
    tokenizer.save_pretrained(folder / "bert")
    modules = [Transformer(str(folder / "bert"), max_seq_length=32), Pooling(config.hidden_size)]
    SentenceTransformer(modules=modules, device="cpu").save(str(folder / "encoder"))
    return folder / "encoder"
