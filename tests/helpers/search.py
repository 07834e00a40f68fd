"""Random models, and the expert in place of a model, for the tests of the search."""

from __future__ import annotations

import numpy as np
import pytest
import torch as th

from o1nano.envs.core.config import EnvConfig
from o1nano.envs.core.expert_policy import ExpertPolicy
from o1nano.envs.core.grammar import Grammar
from o1nano.envs.language.vocab import END_CALL, END_THINK, EOS, PROBLEM, REMAINDER
from o1nano.envs.problems.problem import Level, Problem, draw
from o1nano.envs.seeding import stream
from o1nano.policies.network.model import ReasoningNetwork
from tests.helpers.tiny import ids, tiny_network

CONFIG = EnvConfig(frame_length=48, depth=4, max_tokens=120)
WIDE = EnvConfig(frame_length=96, max_tokens=4096)

Faults = list[tuple[bytes, int, float]]
"""Where the expert errs: the end of a frame, the token that follows it, and how probable that is."""


def some_problems(n: int = 12) -> list[Problem]:
    """Problems of the four operations, of one to three digits."""
    families = ("addition", "subtraction", "multiplication", "division")
    return [draw(Level(families[i % 4], 1 + i % 3), stream("engine", i)) for i in range(n)]


@th.no_grad()
def caller(seed: int = 0) -> ReasoningNetwork:
    """A random network that likes to call and to return."""
    network = tiny_network(seed)
    network.heads.completion.bias[ids("<think> <eos>")] += 2
    network.heads.reasoning.bias[ids("<call> </think>")] += 2
    network.heads.subtask.bias[ids("</call>")] += 3
    return network


def fault(end: str, token: str, chance: float) -> tuple[bytes, int, float]:
    """A fault of the expert, in tokens separated by spaces."""
    return bytes(ids(end)), ids(token)[0], chance


def copied(frame: bytes) -> int:
    """The next token of a root that believes what its only child has answered; 0 if the frame is another one."""
    if frame[0] != PROBLEM or frame.count(END_CALL) != 1 or END_THINK not in frame:
        return 0
    answer = frame[frame.index(END_CALL) + 1 : frame.index(END_THINK)][::-1]
    if REMAINDER in answer:
        return 0
    at = len(frame) - frame.index(END_THINK) - 1
    return answer[at] if at < len(answer) else EOS


def expert_instead(monkeypatch: pytest.MonkeyPatch) -> Faults:
    """Replaces the decoder by the expert with a list of faults, which is empty at first."""
    faults: Faults = []
    expert = ExpertPolicy(Grammar())

    def step(self: object, observations: np.ndarray) -> tuple[th.Tensor, th.Tensor]:
        log_probs = th.full((len(observations), len(Grammar().legal[0])), -th.inf)
        for row, observation in enumerate(observations):
            frame = observation[observation > 0].tobytes()
            if not frame:
                log_probs[row, 1] = 0.0
                continue
            right = copied(frame) or int(expert.predict(observation[None])[0])
            log_probs[row, right] = 0.0
            for end, token, chance in faults:
                if frame.endswith(end) and token != right:
                    log_probs[row, token] = np.log(chance)
                    log_probs[row, right] = np.log1p(-chance)
        return log_probs, th.ones(len(observations))

    monkeypatch.setattr("o1nano.policies.decoding.decoder.Decoder.step", step)
    return faults
