"""Steering in a real Trainer: what is drawn, what is said, what is left alone, and how a run is resumed."""

import copy
import json
import logging
import random

import numpy as np
import pytest
import torch
from torch.utils.data import IterableDataset
from transformers import Trainer, TrainerCallback, TrainingArguments

from influcoder.attribution.steering import InfluenceSampler, Limits, Steering, Weighting, collate, steer, training_rows
from influcoder.attribution.steering import callback as following
from influcoder.attribution.steering.labels import distil_now, exact
from influcoder.attribution.steering.sampler import Segment
from influcoder.attribution.steering.snapshot import decoder_now, untouched_randomness
from influcoder.attribution.steering.state import KEY, Steered
from influcoder.core.errors import EncoderError, IntegrityError, SampleError, SettingsError
from influcoder.encoder import Encoder
from influcoder.encoder.kernel_solver import TrainingSamples, solve
from influcoder.settings.teacher import TeacherSpec

MAX_TOKENS = 48
TEACHER = TeacherSpec(max_tokens=MAX_TOKENS, projection_dim=2048, rank=8)
SPOT = (20, 20)


class Rows(list):
    """Rows that remember which of them were asked for."""

    def __init__(self, rows):
        super().__init__(rows)
        self.drawn = []

    def __getitem__(self, place):
        self.drawn.append(place)
        return super().__getitem__(place)


class At(TrainerCallback):
    """Does something to the model before one step."""

    def __init__(self, step, change):
        self.step, self.change = step, change

    def on_step_begin(self, args, state, control, model=None, **_more):
        if state.global_step == self.step:
            with untouched_randomness(), torch.no_grad():
                torch.manual_seed(3)
                for name, parameter in model.named_parameters():
                    parameter.copy_(self.change(name, parameter))


@pytest.fixture(scope="module")
def queries(samples):
    return samples[::3]


@pytest.fixture(scope="module")
def pool(samples, queries):
    return [sample for sample in samples if sample not in queries]


@pytest.fixture
def trainer_of(tiny_decoder, pool, tmp_path):
    """A function that makes a Trainer of a fresh copy of the tiny decoder, with dropout so that random states count."""

    def make(name="run", model=None, steps=8, **options):
        model = model or copy.deepcopy(tiny_decoder.model).requires_grad_(True)
        for module in model.modules():
            if hasattr(module, "attention_dropout"):
                module.attention_dropout = 0.1
        given = {"per_device_train_batch_size": 4, "learning_rate": 1e-3, "logging_steps": 2, "save_strategy": "no"}
        args = TrainingArguments(
            str(tmp_path / name), max_steps=steps, report_to=[], use_cpu=True, disable_tqdm=True, **(given | options)
        )
        rows = Rows(training_rows(tiny_decoder.tokenizer, pool, MAX_TOKENS))
        return Trainer(model, args, train_dataset=rows, data_collator=collate, processing_class=tiny_decoder.tokenizer)

    return make


def steering(**options):
    given = {"check_every": 4, "labels": 30, "spot": SPOT, "teacher": TEACHER}
    return Steering(**(given | options))


def weights_after(trainer, **options):
    trainer.train(**options)
    return {name: value.clone() for name, value in trainer.model.state_dict().items()}


def assert_identical(left, right):
    assert left.keys() == right.keys()
    assert all(torch.equal(left[name], right[name]) for name in left)


def losses(trainer):
    return [(entry["step"], entry["loss"]) for entry in trainer.state.log_history if "loss" in entry]


def test_watching_leaves_a_training_bit_for_bit_as_it_was(trainer_of, pool, queries):
    plain = trainer_of("plain")
    expected = weights_after(plain)
    watched = trainer_of("watched")
    callback = steer(watched, pool, queries, steering=steering(weighting=None))
    assert_identical(weights_after(watched), expected)
    # What the Trainer logs of its own is not lost in the steps that are measured.
    assert losses(watched) == losses(plain)
    assert [entry["step"] for entry in callback.state.measured] == [0, 4, 8]
    assert all(parameter.requires_grad for parameter in watched.model.parameters())
    assert watched.model.training


def test_even_weights_train_alike_with_and_without_measuring(trainer_of, pool, queries):
    alone = trainer_of("alone")
    sampler = InfluenceSampler(len(pool), alone.args.seed)
    alone._get_train_sampler = lambda _dataset=None: sampler
    expected = weights_after(alone)
    steered = trainer_of("steered")
    # No estimate reaches such a floor, so all samples are drawn alike from the start.
    steer(steered, pool, queries, steering=steering(limits=Limits(floor=0.99)))
    assert_identical(weights_after(steered), expected)


def hooks_of(model):
    return [(list(module._forward_hooks), list(module._forward_pre_hooks)) for module in model.modules()]


def test_a_measurement_touches_neither_gradients_nor_hooks_nor_mode(tiny_decoder, pool, queries):
    model = copy.deepcopy(tiny_decoder.model).requires_grad_(True).train()
    frozen = next(model.parameters()).requires_grad_(False)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    # Transformers leaves hooks of its own on a model that was once asked for hidden states.
    hooks = hooks_of(model)
    decoder = decoder_now(model, tiny_decoder.tokenizer)
    distil_now(decoder, TEACHER, queries, pool[:30])
    assert_identical(model.state_dict(), before)
    assert model.training
    assert not frozen.requires_grad
    for parameter in model.parameters():
        assert torch.equal(parameter.grad, torch.ones_like(parameter))
        assert parameter is frozen or parameter.requires_grad
    assert hooks_of(model) == hooks
    # The view is of the same memory: it costs no second set of weights, and sees each step.
    assert {value.data_ptr() for value in decoder.model.parameters()} == {p.data_ptr() for p in model.parameters()}


def test_random_states_are_put_back():
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    with untouched_randomness():
        assert random.random() != np.random.random() != torch.rand(1).item()
    assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == states


def test_labels_are_those_of_the_decoder_as_it_is_now(tiny_decoder, pool, queries):
    model = copy.deepcopy(tiny_decoder.model).requires_grad_(True)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.5)
    changed = decoder_now(copy.deepcopy(model), tiny_decoder.tokenizer)
    found = exact(decoder_now(model, tiny_decoder.tokenizer), TEACHER, queries[:5], [*queries[:2], *pool[:6]])
    expected = exact(changed, TEACHER, queries[:5], [*queries[:2], *pool[:6]])
    np.testing.assert_array_equal(found, expected)
    assert np.isnan(found[[0, 1], [0, 1]]).all()
    assert np.isfinite(found).sum() == found.size - 2
    old = exact(decoder_now(tiny_decoder.model, tiny_decoder.tokenizer), TEACHER, queries[:5], pool[:6])
    assert np.abs(found[:, 2:] - old).max() > 0.01


@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_run_ends_where_an_uninterrupted_one_does(trainer_of, pool, queries, workers, monkeypatch):
    # Every second look is a doubt, so that weights change before the checkpoint and after it.
    monkeypatch.setattr(following, "doubt", lambda _now, first, _limits: "" if first is None else "it fell")
    options = {
        "steps": 12,
        "gradient_accumulation_steps": 2,
        "save_strategy": "steps",
        "save_steps": 5,
        "logging_steps": 1,
        "dataloader_num_workers": workers,
    }
    plan = steering(weighting=Weighting(scale="value"), limits=Limits(when_untrusted="relabel"))
    whole = trainer_of("whole", **options)
    first = steer(whole, pool, queries, steering=plan)
    expected = weights_after(whole)
    assert whole.state.epoch > 1
    assert len({entry["influence/effective_samples"] for entry in first.state.measured}) > 1
    again = trainer_of("whole", **options)
    second = steer(again, pool, queries, steering=plan)
    assert_identical(weights_after(again, resume_from_checkpoint=f"{again.args.output_dir}/checkpoint-5"), expected)
    assert losses(again) == losses(whole)
    plain = [{k: v for k, v in entry.items() if "seconds" not in k} for entry in first.state.measured]
    assert [{k: v for k, v in entry.items() if "seconds" not in k} for entry in second.state.measured] == plain
    if not workers:
        # What was skipped is not read again; the rest is drawn in the same order.
        assert again.train_dataset.drawn[-50:] == whole.train_dataset.drawn[-50:]


def test_high_estimates_are_drawn_more_often_and_dropped_ones_never(trainer_of, tiny_decoder, pool, queries):
    encoder = distil_now(decoder_now(tiny_decoder.model, tiny_decoder.tokenizer), TEACHER, queries, pool[:30])
    drawn = {}
    trusting = Limits(floor=-0.9, when_untrusted="warn")
    for weighting in (Weighting(temperature=0.5), Weighting("drop", share=0.5)):
        trainer = trainer_of(weighting.mode, steps=40, learning_rate=0.0)
        callback = steer(
            trainer, pool, queries, encoder, steering(weighting=weighting, check_every=50, limits=trusting)
        )
        trainer.train()
        # check_rows reads five before the training.
        drawn[weighting.mode] = np.bincount(trainer.train_dataset.drawn[5:], minlength=len(pool))
        assert callback.state.encoder == ""
    means = encoder.scores(queries, pool).mean(0)
    lowest = np.argsort(means)[: len(pool) // 2]
    assert drawn["drop"][lowest].sum() == 0
    assert (np.delete(drawn["drop"], lowest) >= 2).all()
    assert 0 < drawn["prioritise"][lowest].sum() < 0.25 * drawn["prioritise"].sum()
    assert np.corrcoef(means, drawn["prioritise"])[0, 1] > 0.5


def test_a_second_training_begins_anew(trainer_of, tiny_decoder, pool, queries):
    encoder = distil_now(decoder_now(tiny_decoder.model, tiny_decoder.tokenizer), TEACHER, queries, pool[:30])
    trainer = trainer_of(steps=20, learning_rate=0.0)
    limits = Limits(floor=-0.9, when_untrusted="warn")
    callback = steer(trainer, pool, queries, encoder, steering(check_every=50, limits=limits))
    drawn = trainer.train_dataset.drawn
    trainer.train()
    first = drawn[5:]
    trainer.train()
    assert drawn[5:] == first + first
    assert [entry["step"] for entry in callback.state.measured] == [0]


@pytest.mark.parametrize("options", [{"bf16": True}, {"gradient_checkpointing": True}], ids=str)
def test_what_a_trainer_does_to_a_model_does_not_get_in_the_way(trainer_of, pool, queries, options):
    expected = weights_after(trainer_of("plain", steps=2, **options))
    watched = trainer_of("watched", steps=2, **options)
    callback = steer(watched, pool, queries, steering=steering(weighting=None, check_every=1))
    assert_identical(weights_after(watched), expected)
    assert np.isfinite([entry["influence/agreement"] for entry in callback.state.measured]).all()


def noise(_name, parameter):
    return torch.randn_like(parameter) * 3


def warnings_of(caplog):
    return [record.message for record in caplog.records if "not to be trusted" in record.message]


@pytest.mark.parametrize("then", ["uniform", "warn", "stop"])
def test_a_scrambled_decoder_ends_the_trust(trainer_of, pool, queries, caplog, then):
    trainer = trainer_of(steps=12, learning_rate=1e-4)
    callback = steer(trainer, pool, queries, steering=steering(limits=Limits(when_untrusted=then)))
    trainer.add_callback(At(6, noise))
    with caplog.at_level(logging.WARNING):
        trainer.train()
    trusted = [(entry["step"], entry["influence/trusted"]) for entry in callback.state.measured]
    assert trusted[:3] == [(0, 1.0), (4, 1.0), (8, 0.0)]
    assert not callback.state.trusted
    assert len(warnings_of(caplog)) == 1
    assert warnings_of(caplog)[0].startswith("step 8: estimates of influence are not to be trusted: agreement ")
    even = np.ptp(trainer._get_train_sampler().weights) == 0
    assert even == (then != "warn")
    assert trainer.state.global_step == (8 if then == "stop" else 12)
    assert len(trusted) == (4 if then == "warn" else 3)
    logged = [entry for entry in trainer.state.log_history if "influence/agreement" in entry]
    assert [entry["step"] for entry in logged] == [step for step, _ in trusted]
    assert all({"influence/agreement_lo", "influence/effective_samples"} <= entry.keys() for entry in logged)
    assert logged[0]["influence/effective_samples"] < 0.6 * len(pool)


def test_new_labels_of_the_changed_decoder_win_the_trust_back(trainer_of, tiny_decoder, pool, queries, caplog):
    """A decoder whose gradients are easy to estimate becomes one whose gradients are other ones."""
    easy = copy.deepcopy(tiny_decoder.model).requires_grad_(True)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(3)
        for parameter in easy.parameters():
            parameter.normal_(0, 0.02)
    options = {"steps": 8, "learning_rate": 1e-4, "save_strategy": "steps", "save_steps": 4}
    plan = steering(limits=Limits(when_untrusted="relabel"))
    trainer = trainer_of(model=easy, **options)
    callback = steer(trainer, pool, queries, steering=plan)
    other = dict(tiny_decoder.model.named_parameters())
    trainer.add_callback(At(2, lambda name, _parameter: other[name]))
    with caplog.at_level(logging.WARNING):
        trainer.train()
    rho = [entry["influence/agreement"] for entry in callback.state.measured]
    assert [entry["step"] for entry in callback.state.measured] == [0, 4, 4, 8]
    assert [entry["influence/trusted"] for entry in callback.state.measured] == [1, 0, 1, 1]
    assert rho[1] < rho[0] - 0.2
    assert rho[2] > rho[1] + 0.05
    assert callback.state.trusted
    assert warnings_of(caplog) == []
    assert "A new encoder is solved for" in caplog.text
    assert callback.state.encoder == "influence-encoder-4"
    assert np.ptp(trainer._get_train_sampler().weights) > 0
    # A resumed run goes on with the encoder that was made, and measures the same.
    again = trainer_of(**options)
    second = steer(again, pool, queries, steering=plan)
    again.train(resume_from_checkpoint=f"{again.args.output_dir}/checkpoint-4")
    assert second.state.measured[-1]["influence/agreement"] == pytest.approx(rho[-1], abs=1e-6)
    assert_identical(again.model.state_dict(), trainer.model.state_dict())


def test_a_wrong_encoder_is_found_out_before_the_first_step(trainer_of, tiny_decoder, pool, queries, caplog):
    learnt = [*queries, *pool[:30]]
    rows = np.random.default_rng(1).normal(size=(len(learnt), 4))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    invented = rows @ rows.T
    np.fill_diagonal(invented, np.nan)
    roles = np.arange(len(queries)), np.arange(len(queries), len(learnt))
    encoder = Encoder.of(solve(TrainingSamples(learnt, invented, *roles), tiny_decoder, MAX_TOKENS, 0)[0])
    trainer = trainer_of(steps=2)
    callback = steer(trainer, pool, queries, encoder, steering(limits=Limits(when_untrusted="relabel")))
    with caplog.at_level(logging.WARNING):
        trainer.train()
    assert [entry["influence/trusted"] for entry in callback.state.measured] == [0, 1]
    assert callback.state.encoder == "influence-encoder-0"
    assert "may have been among the encoder's labels" in caplog.text


@pytest.mark.parametrize("then", ["uniform", "relabel"])
def test_a_decoder_that_is_not_finite_ends_the_trust_and_not_the_training(trainer_of, pool, queries, caplog, then):
    trainer = trainer_of(steps=6)
    callback = steer(trainer, pool, queries, steering=steering(limits=Limits(when_untrusted=then)))
    trainer.add_callback(At(2, lambda _name, parameter: parameter * float("nan")))
    with caplog.at_level(logging.WARNING):
        trainer.train()
    assert trainer.state.global_step == 6
    assert not callback.state.trusted
    assert np.ptp(trainer._get_train_sampler().weights) == 0
    assert len(warnings_of(caplog)) == 1


def test_a_resumed_run_has_to_be_the_same(trainer_of, tiny_decoder, pool, queries):
    encoder = distil_now(decoder_now(tiny_decoder.model, tiny_decoder.tokenizer), TEACHER, queries, pool[:30])
    options = {"steps": 2, "save_strategy": "steps", "save_steps": 2}
    trainer = trainer_of(**options)
    steer(trainer, pool, queries, encoder, steering())
    trainer.train()
    checkpoint = f"{trainer.args.output_dir}/checkpoint-2"
    other = trainer_of(**options | {"steps": 4})
    steer(other, pool, queries[1:], encoder, steering())
    with pytest.raises(SampleError, match="other samples or queries"):
        other.train(resume_from_checkpoint=checkpoint)
    without = trainer_of(**options | {"steps": 4})
    steer(without, pool, queries, None, steering())
    with pytest.raises(EncoderError, match="Give it again"):
        without.train(resume_from_checkpoint=checkpoint)


def test_what_a_checkpoint_says_is_read_back_or_refused():
    weights = np.random.default_rng(0).random(7).astype(np.float32)
    first = np.ones((2, 3), np.float32), np.array([[0.1, np.nan, 0.2]] * 2, np.float32)
    state = Steered("digest", 3, (Segment(0, 0), Segment(1, 4, weights)), False, "folder", first, [{"step": 2}])
    packed = json.loads(json.dumps(state.packed()))
    again = Steered.unpacked(packed, "digest")
    assert [(s.epoch, s.start) for s in again.segments] == [(0, 0), (1, 4)]
    assert again.segments[0].weights is None
    np.testing.assert_array_equal(again.segments[1].weights, weights)
    np.testing.assert_array_equal(again.first, first)
    assert (again.seed, again.trusted, again.encoder, again.measured) == (3, False, "folder", [{"step": 2}])
    with pytest.raises(IntegrityError, match="version 0"):
        Steered.unpacked(packed | {"version": 0}, "digest")
    with pytest.raises(IntegrityError, match="can't be read"):
        Steered.unpacked({name: value for name, value in packed.items() if name != "seed"}, "digest")
    cut = packed["segments"][1] | {"weights": {"shape": [7], "float32": "AAAA"}}
    with pytest.raises(IntegrityError, match="can't be read"):
        Steered.unpacked(packed | {"segments": [cut]}, "digest")


def test_queries_that_are_trained_on_are_said(trainer_of, pool, queries, caplog):
    with caplog.at_level(logging.WARNING):
        steer(trainer_of(), pool, [*queries, *pool[:3]])
    assert "3 of the queries are training samples too" in caplog.text


def test_a_checkpoint_that_was_not_steered_can_be_steered_from(trainer_of, pool, queries, caplog):
    options = {"steps": 6, "save_strategy": "steps", "save_steps": 3}
    trainer_of(**options).train()
    again = trainer_of(**options)
    callback = steer(again, pool, queries, steering=steering())
    with caplog.at_level(logging.WARNING):
        again.train(resume_from_checkpoint=f"{again.args.output_dir}/checkpoint-3")
    assert [entry["step"] for entry in callback.state.measured] == [3, 4]
    assert KEY in again.state.stateful_callbacks
    assert "steering begins at step 3" in caplog.text


class Stream(IterableDataset):
    def __iter__(self):
        return iter(())


def test_a_trainer_that_can_not_be_steered_is_refused(trainer_of, pool, queries):
    with pytest.raises(SampleError, match=f"{len(pool)} rows, and there are {len(pool) - 1} samples"):
        steer(trainer_of(), pool[1:], queries)
    with pytest.raises(SampleError, match="none of the rows"):
        steer(trainer_of(), [*pool[7:], *pool[:7]], queries)
    with pytest.raises(SettingsError, match="group_by_length"):
        steer(trainer_of(train_sampling_strategy="group_by_length"), pool, queries)
    steered = trainer_of()
    steer(steered, pool, queries)
    with pytest.raises(SettingsError, match="steered already"):
        steer(steered, pool, queries)
    streaming = trainer_of()
    streaming.train_dataset = Stream()
    with pytest.raises(SampleError, match="no rows"):
        steer(streaming, pool, queries)
    wordless = trainer_of()
    wordless.processing_class = None
    with pytest.raises(SettingsError, match="no tokenizer"):
        steer(wordless, pool, queries)


@pytest.fixture
def adapted(tiny_decoder):
    """A function: the tiny decoder with a LoRA adapter whose B is not zero."""
    peft = pytest.importorskip("peft")

    def make():
        with torch.random.fork_rng():
            torch.manual_seed(0)
            config = peft.LoraConfig(r=4, target_modules=["q_proj", "down_proj"], lora_dropout=0.1)
            model = peft.get_peft_model(copy.deepcopy(tiny_decoder.model), config)
            for name, parameter in model.named_parameters():
                if "lora_B" in name:
                    parameter.data.normal_(0, 0.2)
        return model

    return make


def test_an_adapter_is_merged_into_a_view_and_not_into_the_model(adapted, tiny_decoder):
    model = adapted().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    decoder = decoder_now(model, tiny_decoder.tokenizer)
    ids = torch.arange(12)[None] + 20
    expected = copy.deepcopy(model).eval()(input_ids=ids).logits
    torch.testing.assert_close(decoder.model(input_ids=ids).logits, expected, atol=1e-5, rtol=1e-5)
    assert [name for name, _ in decoder.model.named_parameters()] == [
        name for name, _ in tiny_decoder.model.named_parameters()
    ]
    assert_identical(model.state_dict(), before)
    assert model.training
    pointers = {value.data_ptr() for value in model.parameters()}
    own = [name for name, value in decoder.model.named_parameters() if value.data_ptr() not in pointers]
    assert own
    assert all("q_proj" in name or "down_proj" in name for name in own)


def test_an_adapter_trains_as_it_would_unwatched(adapted, trainer_of, pool, queries):
    expected = weights_after(trainer_of("plain", adapted(), steps=4))
    watched = trainer_of("watched", adapted(), steps=4)
    callback = steer(watched, pool, queries, steering=steering(weighting=None))
    assert_identical(weights_after(watched), expected)
    assert np.isfinite([entry["influence/agreement"] for entry in callback.state.measured]).all()
