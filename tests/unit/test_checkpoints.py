"""Fine-tuning that is killed goes on from its checkpoint, to the very weights that it would have had."""

import logging
import signal
from dataclasses import asdict

import numpy as np
import pytest
import torch
from deadly import DeadlyFolder, exit_code_of
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from small import write_encoder

from influcoder.core.errors import ChangedMeanwhileError, StoreError
from influcoder.encoder import Encoder, fine_tuning
from influcoder.encoder.checkpoints import Checkpoints, Saved
from influcoder.encoder.fine_tuning import fine_tune
from influcoder.encoder.result import Epoch
from influcoder.encoder.training import Training, key_of
from influcoder.influence.features.cache import FeatureTable
from influcoder.influence.features.labeller import Labelled
from influcoder.influence.teacher import Teacher
from influcoder.influence.teachers.pair_scores import PairScores
from influcoder.labelsets.labelset import assemble, assemble_pairs
from influcoder.labelsets.plan import plan_label_set
from influcoder.samples import Corpus
from influcoder.settings.labels import EncoderSettings, LabelBudget, SplitBudget
from influcoder.settings.teacher import TeacherSpec
from influcoder.storage.folder import Folder

BUDGET = LabelBudget(
    train=SplitBudget(queries=12, candidates=24),
    selection=SplitBudget(queries=2, candidates=5),
    report=SplitBudget(queries=2, candidates=5),
)
SETTINGS = EncoderSettings(recipe="fine-tune", max_tokens=24, batch=12, epochs=3, patience=3, learning_rate=1e-3)


class Killed(BaseException):
    """What no code of ours catches."""


class FullFolder(Folder):
    """A folder on a disk that is full."""

    def put(self, key, data):
        if key.endswith(".safetensors"):
            raise StoreError("the disk is full.")
        super().put(key, data)


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """The directory of a text encoder with random weights, two layers and dropout."""
    return str(write_encoder(tmp_path_factory.mktemp("bert"), num_hidden_layers=2, hidden_dropout_prob=0.2))


@pytest.fixture(scope="module", params=["square", "pairs"])
def labels(request, samples):
    plan = plan_label_set(Corpus("samples", tuple(samples)), None, BUDGET, seed=0)
    rows = np.random.default_rng(0).standard_normal((len(plan.samples), 6)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    hashes = tuple(sample.hash for sample in plan.samples)
    if request.param == "square":
        ones = np.ones(len(rows), np.float32)
        table = FeatureTable(hashes, rows, ones, ones, ones * 0)
        return assemble(plan, Teacher(decoder_fingerprint="tiny"), "tiny", Labelled(table, {}, len(rows)))
    sides = [[place for place, e in enumerate(plan.entries) if e.role == role] for role in ("query", "candidate")]
    left, right = (tuple(hashes[place] for place in side) for side in sides)
    scores = PairScores(left, right, 3 * rows[sides[0]] @ rows[sides[1]].T)
    teacher = Teacher(decoder_fingerprint="tiny", spec=TeacherSpec(method="imported"))
    return assemble_pairs(plan, teacher, "tiny", scores)


@pytest.fixture(scope="module")
def whole(start, labels):
    """A training that nothing stopped."""
    return train(start, labels, None)


def train(start, labels, objects, settings=SETTINGS, say=lambda _number, _values: None, **options):
    checkpoints = Checkpoints(objects, **options) if objects else None
    return fine_tune(Encoder(start, settings.max_tokens), labels, settings, say, checkpoints)


def train_in_a_process_that_dies(start, labels, path, deadly):
    fine_tuning.SECONDS_BETWEEN_CHECKPOINTS = 0
    train(start, labels, DeadlyFolder(path, deadly))


def assert_same(found, expected):
    assert [str(asdict(epoch)) for epoch in found.history] == [str(asdict(epoch)) for epoch in expected.history]
    assert (found.best, found.selection) == (expected.best, expected.selection)
    states = found.encoder.model.state_dict(), expected.encoder.model.state_dict()
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def interrupted(start, labels, path, deadly):
    """A training that was stopped before an operation on its folder; whether it was."""

    def die():
        raise Killed

    try:
        train(start, labels, DeadlyFolder(path, deadly, die))
    except Killed:
        return True
    return False


def test_dropout_makes_training_depend_on_the_random_state(start, labels, whole):
    other = train(start, labels, None, SETTINGS.model_copy(update={"seed": 1}))
    assert [e.loss for e in other.history[1:]] != [e.loss for e in whole.history[1:]]
    encoder = Encoder(start, 24)
    encoder.model.train()
    assert not torch.equal(encoder.forward(["the river"]), encoder.forward(["the river"]))


@pytest.mark.parametrize("deadly", [9])
def test_a_process_killed_within_an_epoch_is_gone_on_with(start, labels, whole, tmp_path, deadly):
    code = exit_code_of(train_in_a_process_that_dies, start, labels, tmp_path, deadly)
    assert code == -signal.SIGKILL
    heard = []
    found = train(start, labels, Folder(tmp_path), say=lambda number, _values: heard.append(number))
    assert_same(found, whole)
    assert heard == [epoch.number for epoch in whole.history]


def test_wherever_it_is_killed_it_goes_on_to_the_same_weights(start, labels, whole, tmp_path, monkeypatch):
    monkeypatch.setattr(fine_tuning, "SECONDS_BETWEEN_CHECKPOINTS", 0)
    deaths = 0
    # Seven is prime to what a checkpoint writes and deletes, so every operation has its turn.
    for deadly in range(1, 200, 7):
        path = tmp_path / str(deadly)
        if not interrupted(start, labels, path, deadly):
            break
        deaths += 1
        assert_same(train(start, labels, Folder(path)), whole)
    assert deaths >= 5


def test_killed_again_and_again_it_still_comes_to_an_end(start, labels, whole, tmp_path):
    deaths = 0
    while interrupted(start, labels, tmp_path, deadly=7):
        deaths += 1
        assert deaths < 20
    assert deaths >= 2
    assert_same(train(start, labels, Folder(tmp_path)), whole)


def test_steps_that_were_done_are_not_done_again(start, labels, whole, tmp_path, monkeypatch):
    train(start, labels, Folder(tmp_path))
    monkeypatch.setattr(fine_tuning, "_step", lambda *_: pytest.fail("a step was trained again"))
    assert_same(train(start, labels, Folder(tmp_path)), whole)


def test_another_training_is_not_gone_on_with(start, labels, tmp_path):
    folder, other = Folder(tmp_path), SETTINGS.model_copy(update={"learning_rate": 2e-3})
    train(start, labels, folder)
    assert_same(train(start, labels, folder, other), train(start, labels, None, other))
    assert len(list((tmp_path / "checkpoints").iterdir())) == 2


def test_the_key_covers_weights_window_labels_and_settings(start, labels):
    def key(settings=SETTINGS, window=24, nudge=0.0, block=None):
        encoder = Encoder(start, window)
        next(encoder.model.parameters()).data[0, 0] += nudge
        train_block = block or labels.training_block()
        return key_of(encoder, train_block, labels.evidence("selection"), settings)

    lessons = labels.training_block()
    changed = lessons.part(*[range(len(lessons.queries))] * 2) if lessons.is_square else lessons
    changed.labels[0, 1] += 1e-6
    keys = [
        key(),
        key(SETTINGS.model_copy(update={"seed": 1})),
        key(window=16),
        key(nudge=1e-3),
        key(block=changed),
    ]
    assert len(set(keys)) == len(keys)
    assert key() == keys[0]


@pytest.mark.parametrize("damage", ["cut off", "changed", "gone", "pointer cut off", "pointer changed"])
def test_a_damaged_checkpoint_is_noticed_and_training_begins_again(start, labels, whole, tmp_path, damage, caplog):
    interrupted(start, labels, tmp_path, deadly=7)
    pointer = next(tmp_path.glob("checkpoints/*/latest.json"))
    parts = sorted(pointer.parent.glob("*.safetensors"), key=lambda file: file.stat().st_size)
    file = pointer if "pointer" in damage else parts[-1]
    data = file.read_bytes()
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(
            data[: len(data) // 2] if "cut off" in damage else data[:-9] + bytes([data[-9] ^ 1]) + data[-8:]
        )
    with caplog.at_level(logging.WARNING):
        assert_same(train(start, labels, Folder(tmp_path)), whole)
    assert "training starts from the beginning" in caplog.text
    # What was damaged has been written anew.
    assert_same(train(start, labels, Folder(tmp_path)), whole)


def test_whoever_opens_a_training_last_owns_it(tmp_path):
    folder, heard = Folder(tmp_path), []
    first, second = Checkpoints(folder, "first"), Checkpoints(folder, "second", heard.append)
    assert first.open("key") is None
    assert second.open("key") is None
    assert heard == ["first"]
    with pytest.raises(ChangedMeanwhileError, match="another run has taken this training over"):
        first.save(Saved({}, {"weights": b"first"}))
    second.save(Saved({"a": 1}, {"weights": b"second"}))
    assert Checkpoints(folder, "third").open("key") == Saved({"a": 1}, {"weights": b"second"})


class Unheard(Folder):
    """A folder whose second answer to a swap gets lost: it is done, and nobody hears of it."""

    swaps = 0

    def swap(self, key, data, expected):
        version = super().swap(key, data, expected)
        self.swaps += 1
        if self.swaps == 2:
            raise StoreError("no answer.")
        return version


def test_a_checkpoint_whose_answer_got_lost_is_no_other_run(tmp_path, caplog):
    folder = Unheard(tmp_path)
    checkpoints = Checkpoints(folder, "first")
    assert checkpoints.open("key") is None
    checkpoints.save(Saved({"epoch": 1}, {}))
    assert "no answer" in caplog.text
    checkpoints.save(Saved({"epoch": 2}, {"weights": b"w"}))
    assert Checkpoints(folder, "second").open("key") == Saved({"epoch": 2}, {"weights": b"w"})


def test_training_goes_on_where_no_checkpoint_can_be_written(start, labels, whole, tmp_path, caplog):
    assert_same(train(start, labels, FullFolder(tmp_path)), whole)
    assert "the disk is full" in caplog.text


def test_clearing_leaves_nothing(start, labels, tmp_path):
    checkpoints = Checkpoints(Folder(tmp_path))
    checkpoints.clear()
    fine_tune(Encoder(start, 24), labels, SETTINGS, lambda _number, _values: None, checkpoints)
    assert any(file.is_file() for file in tmp_path.rglob("*"))
    checkpoints.clear()
    assert not any(file.is_file() for file in tmp_path.rglob("*"))


@given(
    history=st.lists(st.tuples(st.floats(width=64), st.floats(-1, 1) | st.just(float("nan"))), min_size=1, max_size=5),
    losses=st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=5),
    draws=st.integers(0, 1300),
    seed=st.integers(0, 2**63),
    weights=arrays.arrays(np.float32, st.integers(1, 9), elements=st.floats(width=32)),
)
def test_what_is_written_down_comes_back_to_the_bit(history, losses, draws, seed, weights):
    finite = [Epoch(n, loss if np.isfinite(loss) else float("nan"), rho) for n, (loss, rho) in enumerate(history)]
    generator = np.random.default_rng(seed)
    generator.permutation(draws)
    before = stand_in(weights, generator, finite)
    before.losses = list(losses)
    torch.manual_seed(seed)
    torch.rand(draws)
    saved = before.saved()
    expected = generator.permutation(20), torch.rand(20)
    after = stand_in(np.zeros_like(weights), np.random.default_rng(0), finite[:1])
    torch.manual_seed(0)
    after.restore(saved)
    assert [str(epoch) for epoch in after.history] == [str(epoch) for epoch in finite]
    assert (after.losses, after.best.number) == (losses, before.best.number)
    assert (
        after.encoder.model.weight.detach().numpy().tobytes() == before.encoder.model.weight.detach().numpy().tobytes()
    )
    np.testing.assert_array_equal(after.generator.permutation(20), expected[0])
    assert torch.equal(torch.rand(20), expected[1])
    moments = [training.optimizer.state_dict()["state"][0] for training in (before, after)]
    assert all(np.array_equal(moments[0][name], moments[1][name], equal_nan=True) for name in moments[0])


def stand_in(weights, generator, history):
    """A training of a single layer after one step of its optimiser."""
    layer = torch.nn.Linear(len(weights), 1, bias=False)
    layer.weight.data = torch.from_numpy(weights.copy())[None]
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.0, weight_decay=0, fused=True)
    layer.weight.grad = torch.full_like(layer.weight, 0.5)
    optimizer.step()
    # A step without a learning rate leaves weights alone, those that are no numbers excepted.
    layer.weight.data = torch.from_numpy(weights.copy())[None]
    encoder = Encoder.__new__(Encoder)
    encoder.model = layer
    return Training(
        encoder, optimizer, generator, list(history), history[-1], {"weight": layer.weight.detach().clone()}
    )
