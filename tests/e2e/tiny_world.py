"""A world in which the whole demo takes a minute: a random decoder, 1000 made-up stories, a text encoder of 2 kB."""

from pathlib import Path

from small import write_corpus, write_encoder

from influcoder.cli.demo_world import World

SIZES = """
[teacher]
max_tokens = 64
projection_dim = 256
rank = 4
[labels]
token_budget = 600
workers = 1
budget.train = {{ queries = 60, candidates = 60 }}
budget.selection = {{ queries = 6, candidates = 8 }}
budget.report = {{ queries = 50, candidates = 50 }}
spot = {{ queries = 50, candidates = 50 }}
reliability = {{ queries = 6, candidates = 8 }}
[encoder]
base = "{encoder}"
recipe = "kernel"
max_tokens = 32
[buying]
first = 1.0
[cause]
probe = {{ queries = 40, candidates = 40 }}
"""
# At this learning rate another decoder comes out: agreement falls so far that any draw of spot samples shows it.
FINE_TUNING = {"steps": 60, "batch": 8, "learning_rate": 0.1, "max_tokens": 64}


def tiny_world(folder: Path, decoder: Path) -> World:
    """The world; its files are written into a folder.

    Args:
        folder: of corpus and text encoder.
        decoder: a checkpoint directory of the tiny decoder.
    """
    stories = {"scrambled": True, "rows": 1000, "words": (10, 10)}
    pool = write_corpus(folder / "pool.jsonl", **stories)
    encoder = write_encoder(folder)
    grown = write_corpus(folder / "grown.jsonl", **stories | {"rows": 1100})
    return World(
        decoder=str(decoder),
        before=str(pool),
        after=str(grown),
        lesson=str(pool),
        fine_tuning=FINE_TUNING,
        sizes=SIZES.format(encoder=encoder),
        pool=str(pool),
        prompt="Tell me of the sea.",
        answer="The captain saw the harbour, the mast and the storm.",
    )
