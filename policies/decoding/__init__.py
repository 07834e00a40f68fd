"""Decoding: one token after the other, with the keys and values of earlier tokens in a cache."""
