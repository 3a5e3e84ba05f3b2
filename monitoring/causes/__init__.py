"""Why agreement fell: the decoder, the data, or both."""
