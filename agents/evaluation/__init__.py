"""Held-out accuracy, reports, transcripts and probes."""
