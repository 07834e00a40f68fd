"""One token after the other, with cached keys and values."""
