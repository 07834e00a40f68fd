"""Model files whose model never answers: it writes digits, opens subtasks or replaces its frame for ever."""

from __future__ import annotations

from pathlib import Path

import torch as th

from o1nano.envs.core.config import EnvConfig
from o1nano.policies.model_file import save
from tests.helpers.tiny import ids, tiny_network

HABITS = {
    "digits": {"7": 100.0},
    "subtasks": {"<call>": 100.0},
    # A tail call is illegal in the root, which calls once.
    "tail calls": {"<goto>": 200.0, "<call>": 100.0},
}
"""Logits of what each model prefers while it reasons; those of the other tokens are 0."""
# Long numbers of random digits: a child that is equal to its caller would end the attempt.
_DIGITS = "0 1 2 3 4 5 6 7 8 9"
_ENDS = "+ </call> ="


@th.no_grad()
def write_endless(path: Path, habit: str) -> None:
    """Writes a tiny model that never comes to an end by itself, and whose own limits do not end it soon.

    Args:
        path: The file.
        habit: A key of ``HABITS``.
    """
    env = EnvConfig(frame_length=2**16, depth=2**16, max_tokens=2**40)
    network = tiny_network()
    # Without weights the logits are the biases, whatever was written before.
    for decoder in (network.heads.completion, network.heads.reasoning, network.heads.subtask):
        decoder.weight.zero_()
        decoder.bias.zero_()
    network.heads.completion.bias[ids("<think>")] = 100.0
    network.heads.subtask.bias[ids(_DIGITS)] = 100.0
    network.heads.subtask.bias[ids(_ENDS)] = 98.0
    for token, logit in HABITS[habit].items():
        network.heads.reasoning.bias[ids(token)] = logit
    save(path, network, env, training={})
