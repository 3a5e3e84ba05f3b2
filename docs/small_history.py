"""A small history for pictures: a tiny language model is trained on documentation, labelled, distilled and checked,
then trained on until the encoder drifts, and retrained for. Real servers, real drift, minutes on two cores.
"""

from pathlib import Path

KNOWN, NEW = "docs:numpy.lib,numpy.linalg,scipy.optimize,scipy.signal", "docs:scipy.sparse,scipy.special"
CHECKS_BEFORE, CHECKS_AFTER = 3, 3
SETTINGS = """\
decoder = "{decoder}"
corpus = "{corpus}"
[teacher]
max_tokens = 64
projection_dim = 2048
[labels.budget]
train = {{ queries = 60, candidates = 140 }}
selection = {{ queries = 8, candidates = 12 }}
report = {{ queries = 40, candidates = 60 }}
[labels.spot]
queries = 36
candidates = 54
[encoder]
recipe = "kernel"
max_tokens = 64
"""


def write_settings(folder: Path, decoder: Path, corpus: str) -> None:
    """What the flows read at their start."""
    (folder / "influcoder.toml").write_text(SETTINGS.format(decoder=decoder, corpus=corpus))


def live(folder: Path) -> None:
    """Label, distil, promote, check; change the decoder and the corpus, check until it drifts; retrain, check."""
    from flows.check import check
    from flows.label import label
    from flows.promote import promote
    from flows.retrain import retrain
    from flows.train import train
    from influcoder.influence.features.decoder_tuning import fine_tune
    from influcoder.samples import read_corpus
    from influcoder.settings.tree import load_settings
    from influcoder.storage.object_store import ObjectStore
    from monitoring.checks.findings import Verdict
    from monitoring.checks.record import load_check

    first = tiny_decoder()
    first.save(folder / "decoder")
    label()
    train()
    promote()
    for _ in range(CHECKS_BEFORE):
        check()
    more = fine_tune(first, read_corpus(NEW).samples, steps=80, batch=4, learning_rate=2e-3, max_tokens=64)
    write_settings(folder, more.save(folder / "decoder-2"), f"{KNOWN},{NEW.removeprefix('docs:')}")
    store = ObjectStore(load_settings().store)
    for _ in range(CHECKS_AFTER):
        found = load_check(store, check())
        if found.verdict is Verdict.DRIFT:
            retrain(found.id)
            break
    for _ in range(CHECKS_AFTER):
        check()


def tiny_decoder():
    """A Llama of two layers that was trained on documentation for seconds: no more than babble, but a real model."""
    import torch
    from tokenizers import ByteLevelBPETokenizer
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    from influcoder.decoder.checkpoint import Decoder
    from influcoder.influence.features.decoder_tuning import fine_tune
    from influcoder.samples import read_corpus

    samples = read_corpus(KNOWN).samples
    backend = ByteLevelBPETokenizer(add_prefix_space=False)
    backend.train_from_iterator((s.text for s in samples), 2000, special_tokens=["<|end|>"], show_progress=False)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend._tokenizer, eos_token="<|end|>", pad_token="<|end|>")
    # A model this small spends its time on waking threads.
    torch.set_num_threads(1)
    torch.manual_seed(0)
    size = {"hidden_size": 96, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4}
    end = tokenizer.eos_token_id
    config = LlamaConfig(
        vocab_size=len(tokenizer), tie_word_embeddings=True, eos_token_id=end, pad_token_id=end, **size
    )
    fresh = Decoder("tiny", LlamaForCausalLM(config).eval().requires_grad_(False), tokenizer)
    return fine_tune(fresh, samples, steps=120, batch=4, learning_rate=3e-3, max_tokens=64)
