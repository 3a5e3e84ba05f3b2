"""Decoder checkpoints: found by a URI, loaded without remote code, known by their content."""
