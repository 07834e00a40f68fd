"""A page on this machine that shows how a model answers: ``python evaluate.py --serve``."""
