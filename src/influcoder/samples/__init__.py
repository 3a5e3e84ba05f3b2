"""Samples, and where they come from."""

from influcoder.samples.corpus import Corpus, read_corpus
from influcoder.samples.sample import ASKED, Sample
from influcoder.samples.splits import SPLITS, split_of
from influcoder.samples.stream import Stream

__all__ = ["ASKED", "SPLITS", "Corpus", "Sample", "Stream", "read_corpus", "split_of"]
