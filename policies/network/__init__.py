"""The network that is trained: a transformer over the tokens of a frame, with heads for tokens and values."""
