"""Reasoning as a token-emission environment. NumPy and Gymnasium only."""
