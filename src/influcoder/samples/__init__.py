"""Samples, and where they come from."""

from influcoder.samples.corpus import Corpus, read_corpus
from influcoder.samples.sample import ASKED, Sample
from influcoder.samples.splits import SPLITS, split_of

__all__ = ["ASKED", "SPLITS", "Corpus", "Sample", "read_corpus", "split_of"]
