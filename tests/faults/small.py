"""A corpus and a text encoder that are small enough to be read again in every child."""

import json
import random
from pathlib import Path

import torch

TOPICS = {
    "sea": ["anchor", "harbour", "sail", "tide", "captain", "mast", "cargo", "keel", "lantern", "rope", "storm"],
    "kitchen": ["oven", "flour", "butter", "whisk", "spoon", "sugar", "kettle", "dough", "pepper", "basil", "ladle"],
    "orbit": ["rocket", "satellite", "capsule", "moon", "antenna", "telescope", "comet", "gravity", "probe", "radar"],
}


def write_corpus(path: Path) -> Path:
    draw = random.Random(11)
    with path.open("w") as file:
        for number in range(1000):
            topic = draw.choice(sorted(TOPICS))
            words = draw.choices([word for words in TOPICS.values() for word in words], k=8)
            record = {
                "id": str(number),
                "context": "A story: ",
                "target": " ".join(draw.choices(TOPICS[topic], k=10)),
                # What BM25 and the text encoder see tells nothing, so that a closed form is above the floor.
                "text": " ".join(words) + f" {number}",
                "source": topic,
            }
            print(json.dumps(record), file=file)
    return path


def write_encoder(folder: Path, tokenizer_of) -> Path:
    """A sentence-transformers directory with random weights: the floor that flows measure against."""
    from sentence_transformers import SentenceTransformer, models
    from transformers import BertConfig, BertModel

    tokenizer = tokenizer_of(" ".join(words) for words in TOPICS.values())
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng():
        torch.manual_seed(3)
        BertModel(config).save_pretrained(folder / "bert")
    tokenizer.save_pretrained(folder / "bert")
    words = models.Transformer(str(folder / "bert"), max_seq_length=32)
    SentenceTransformer(modules=[words, models.Pooling(16)], device="cpu").save(str(folder / "encoder"))
    return folder / "encoder"
