"""The expert in place of the decoder."""

from __future__ import annotations

import numpy as np
import pytest
import torch as th

from o1nano.envs.core.expert_policy import ExpertPolicy
from o1nano.envs.core.grammar import Grammar
from tests.helpers.search import Faults, copied


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Faults:
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
