import sys

import pytest

from influcoder.core.errors import SettingsError
from influcoder.influence.distributed.connection import connected
from influcoder.influence.distributed.engine import Order, in_shards
from influcoder.influence.teacher import Teacher
from influcoder.settings.labels import LabelSettings
from influcoder.settings.servers import StoreSettings


def test_shards_hold_samples_of_like_length(samples):
    shards = in_shards(samples, 16)
    assert sorted(sample.hash for shard in shards for sample in shard) == sorted(sample.hash for sample in samples)
    lengths = [len(sample.context) + len(sample.target) for shard in shards for sample in shard]
    assert lengths == sorted(lengths, reverse=True)
    assert {len(shard) for shard in shards[:-1]} == {16}
    assert in_shards(samples[::-1], 16) == shards


def test_without_ray_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SettingsError, match=r"Install influcoder\[ray\]"), connected("auto"):
        pass


def test_an_order_prints_no_credentials():
    store = StoreSettings(access_key="who", secret_key="hidden-key")
    order = Order("decoder", Teacher(decoder_fingerprint="0" * 64), store, LabelSettings())
    assert order.store.secret_key.get_secret_value() == "hidden-key"
    assert "hidden-key" not in f"{order} {order!r}"
