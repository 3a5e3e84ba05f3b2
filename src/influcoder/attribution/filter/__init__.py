"""Filtering: keep and drop lists, by a threshold that validation promises."""
