"""kill -9 of what stands beside the loop: new decoders, causes, indexes, regions, filters, alerts, breaker, approval.

Most of these are killed before their first write, run again and killed after the first, run again and killed after the
second, and so on, until a run ends before it could be killed: what a killed run left is what the next one begins with.
"""

import json

import mlflow
import pytest
from alert_world import Receiver, waiting
from moved import moved

from faults import seen
from faults.conftest import with_champion
from faults.points import one_later_each_time, some_of
from faults.writes import places
from influcoder.core.provenance import now
from influcoder.decoder.load import load_decoder
from influcoder.index import Index, load_manifest
from influcoder.registry.champions import Champions
from influcoder.registry.journal import Action, Event, entries
from monitoring.alerts.outbox import Outbox
from monitoring.causes.record import load_cause
from monitoring.checks.record import checks, save_check
from monitoring.loop.decoder_versions import decoders
from monitoring.loop.promotion import APPROVAL, APPROVED, Stage, slot_of

# More than a deliverer's lease, and less than what S3 forgives a clock.
LATER = 360
SMALL = {"INFLUCODER_CAUSE__PROBE": json.dumps({"queries": 3, "candidates": 5})}
LARGE = {"INFLUCODER_CAUSE__PROBE": json.dumps({"queries": 8, "candidates": 8})}


def killed_again_and_again(forge, place, flow, watch, **options):
    """How the first run ended that did fewer writes than it was to be killed after, and how many were killed."""
    for point in one_later_each_time():
        outcome = forge.run(flow, place, kill=point, **options)
        if not outcome.killed:
            assert not outcome.error, outcome.error
            return outcome, point
        watch(place)


@pytest.fixture(scope="module")
def loop(forge):
    """A place with a champion."""
    return with_champion(forge, "beside")


@pytest.fixture(scope="module")
def other_decoder(tiny_decoder_dir, tmp_path_factory):
    return str(moved(tiny_decoder_dir, tmp_path_factory.mktemp("other") / "tiny"))


@pytest.fixture(scope="module")
def watched(forge, loop, other_decoder):
    """How the new decoder was noticed in the end, after how many kills."""
    return killed_again_and_again(forge, loop, "watch", seen.stored, decoder=other_decoder, env=SMALL)


def test_watch_killed_at_every_write(forge, loop, other_decoder, watched):
    _, kills = watched
    assert kills > 10
    fingerprint = load_decoder(other_decoder).fingerprint
    assert list(decoders(loop.store)) == [fingerprint]
    under = [check for check in checks(loop.store) if check.decoder == fingerprint]
    assert len(under) == 1, "what a killed run had checked is not checked again"
    again = forge.run("watch", loop, decoder=other_decoder, env=SMALL)
    assert (again.result, again.error, again.writes) == (None, "", ())


def test_cause_killed_at_every_write(forge, loop, watched):
    found = checks(loop.store)[-1]
    # The same check once more, of which no cause is known yet.
    check_id = save_check(loop.store, found.model_copy(update={"id": "", "created": now()}), b"", b"").id
    _, kills = killed_again_and_again(forge, loop, "cause", seen.stored, check_id=check_id, env=LARGE)
    assert kills >= 3
    cause = load_cause(loop.store, check_id)
    assert loop.store.get(f"checks/{check_id}/cause.png").startswith(b"\x89PNG")
    again = forge.run("cause", loop, check_id=check_id, env=LARGE)
    assert (again.result, again.error, again.writes) == (str(cause.cause), "", ())


def indexes(place):
    """Every index that is visible can be opened and read to its end."""
    found = [key.split("/")[1] for key in place.store.keys("indexes/") if key.endswith("/manifest.json")]
    for name in found:
        index = Index(place.store, load_manifest(place.store, name))
        assert len(index.samples(range(0, len(index), 100))) == len(range(0, len(index), 100))
    return found


def test_index_killed_at_every_write(forge, loop):
    outcome, kills = killed_again_and_again(forge, loop, "index", indexes)
    assert kills > 3
    assert indexes(loop) == [outcome.result]
    again = forge.run("index", loop)
    assert (again.result, again.error, again.writes) == (outcome.result, "", ())


def test_a_packed_index_killed_at_every_write(forge, new_champion):
    calm, place = new_champion(), new_champion()
    writes = forge.run("index", calm, packaged=True).writes
    points = [place for place in places(writes) if place[0].startswith(("POST", "PUT", "PATCH"))]
    assert len(points) > 8
    client, name = mlflow.MlflowClient(place.registry._settings.tracking_uri), place.registry.answers
    for point in some_of(points):
        # Once it is registered it is not packed again, so the writes that come after that are not reached.
        outcome = forge.run("index", place, kill=point, packaged=True)
        assert outcome.killed or not outcome.error, outcome.error
        found = client.search_model_versions(f"name = '{name}'")
        assert all("index.id" in version.tags for version in found)
    forge.done("index", place, packaged=True)
    (only,) = client.search_model_versions(f"name = '{name}'")
    assert client.get_model_version_by_alias(name, "champion").version == only.version
    assert len(seen.open_runs(place)) <= 1, "a run that was killed is closed by the next one"


def test_regions_killed_at_every_write(forge, loop, tmp_path):
    queries, out = tmp_path / "queries.jsonl", tmp_path / "regions"
    queries.write_text("\n".join(json.dumps({"target": text}) for text in ("rocket moon comet", "flour butter oven")))

    def whole(place):
        assert not out.exists()
        assert len(seen.open_runs(place)) <= 1

    options = {"queries": str(queries), "out": str(out), "draw_map": False}
    outcome, kills = killed_again_and_again(forge, loop, "regions", whole, **options)
    assert kills > 5
    assert seen.open_runs(loop) == []
    assert sorted(path.name for path in out.iterdir()) == sorted(outcome.result["files"])
    assert [path.name for path in tmp_path.glob("*.part")] == []


def test_filter_killed_at_every_write(forge, loop, tmp_path):
    examples = tmp_path / "harmful.jsonl"
    texts = ("rocket moon comet radar", "comet antenna moon gravity", "telescope capsule rocket")
    examples.write_text("\n".join(json.dumps({"target": text}) for text in texts))
    kept = []
    for point in one_later_each_time():
        out = tmp_path / f"filtered-{point}"
        options = {"examples": str(examples), "out": str(out), "drop": "5%", "verify": 4}
        outcome = forge.run("filter.filter_corpus", loop, kill=point, **options)
        assert outcome.killed or not outcome.error, outcome.error
        # The examples are logged last: a folder that has its name is whole, whatever becomes of the log.
        if not out.exists():
            assert outcome.killed
            forge.done("filter.filter_corpus", loop, **options)
        kept.append(sorted(path.name for path in out.iterdir()))
        drop = [json.loads(line) for line in (out / "drop.jsonl").read_text().splitlines()]
        assert len(drop) == json.loads((out / "summary.json").read_text())["counts"]["drop"]
        if not outcome.killed:
            break
    assert len(kept) >= 2
    assert all(names == kept[0] for names in kept)


@pytest.fixture
def new_champion(loop, new_place):
    """A function: a place of its own whose version 1 is the champion; nothing else is in it."""
    version = loop.registry.version("1")
    source = mlflow.MlflowClient().get_model_version(loop.registry.model, version.version).source

    def make():
        place = new_place()
        mlflow.register_model(source, place.registry.model, tags=dict(version.tags))
        event = Event(action=Action.PROMOTED, version="1", prior=None, actor="someone")
        Champions(place.store, place.registry).move(event)
        return place

    return make


@pytest.fixture
def receiver():
    running = Receiver()
    yield running
    running.stop()


def told(receiver):
    """The id of the one alert that the receiver was sent, twice at most."""
    ids = [body["message"].split("Alert ")[1][:16] for body in receiver.bodies]
    assert len(set(ids)) == 1
    assert len(ids) <= 2, "a kill between sending and noting sends it once more, under the same id"
    receiver.bodies.clear()
    return ids[0]


def test_alerts_killed_at_every_write(forge, new_champion, receiver):
    env = {"INFLUCODER_ALERTS__CHANNELS": json.dumps([receiver.url]), "INFLUCODER_ALERTS__CHECK_WITHIN_HOURS": "1e-6"}
    for point in one_later_each_time():
        place = new_champion()
        outcome = forge.run("alert.overdue", place, kill=point, env=env)
        if not outcome.killed:
            assert (outcome.result, outcome.error) == (1, "")
            break
        assert forge.done("alert.overdue", place, env=env, clock=LATER) == 1
        forge.done("alert", place, env=env, clock=LATER)
        assert Outbox(place.store).ids() == [told(receiver)]
        assert waiting(place.store) == []
    assert point > 4


def test_breaker_killed_at_every_write(forge, new_champion, receiver):
    env = {"INFLUCODER_ALERTS__CHANNELS": json.dumps([receiver.url]), "INFLUCODER_RETRAINING__FAILURES": "2"}
    for point in one_later_each_time():
        place = new_champion()
        for number in "23":
            held = Event(action=Action.HELD, version=number, prior="1", actor="flow", evidence={"retraining": number})
            Champions(place.store, place.registry).note(held)
        outcome = forge.run("sweep", place, kill=point, env=env)
        forge.done("sweep", place, env=env)
        forge.done("alert", place, env=env, clock=LATER)
        story = [entry.action for entry in entries(place.store, place.registry.model)]
        assert story == [Action.PROMOTED, Action.HELD, Action.HELD, Action.BREAKER_OPENED]
        assert place.registry.version("champion").tags["trust"] == "degraded"
        assert Outbox(place.store).ids() == [told(receiver)]
        if not outcome.killed:
            break
    assert point > 5


def test_approval_killed_at_every_write(forge, loop):
    env = {"INFLUCODER_GATE__APPROVAL": "tag"}
    version = forge.done("train", loop)
    assert forge.done("promote", loop, env=env) is False
    options = {"env": env, "version": version, "approved": True, "reason": "read"}
    for point in one_later_each_time():
        outcome = forge.run("promote.answer", loop, kill=point, **options)
        seen.champions(loop)
        if not outcome.killed:
            break
    # A run that was killed after the last word finds nothing that waits.
    assert not outcome.error or "does not wait for approval" in outcome.error
    assert point > 3
    promoted(loop, version)


def test_sweep_killed_while_it_promotes_what_was_approved(forge, loop):
    env = {"INFLUCODER_GATE__APPROVAL": "tag"}
    version = forge.done("train", loop)
    assert forge.done("promote", loop, env=env) is False
    loop.registry.tag(loop.registry.version(version), {APPROVAL: APPROVED})
    outcome, point = killed_again_and_again(forge, loop, "sweep", seen.champions, env=env)
    assert not outcome.error
    assert point > 3
    promoted(loop, version)


def promoted(place, version):
    """It is champion, was promoted once, and journal, alias and offer agree."""
    assert slot_of(place.store, place.registry.model, version).value.stage is Stage.PROMOTED
    state = seen.champions(place)
    assert (state.recorded, state.pointed, state.unfinished) == (version, version, None)
    moves = [entry.version for entry in state.entries if entry.action is Action.PROMOTED]
    assert moves.count(version) == 1
    assert {entry.version for entry in state.entries if entry.action is Action.APPROVED} <= set(moves)
