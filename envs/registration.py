"""The registered ids. Entry points are strings, so that registering them imports no environment."""

from __future__ import annotations

from typing import Any

import gymnasium as gym

IDS: dict[str, dict[str, Any]] = {
    "o1nano/Arithmetic-v0": {},
    "o1nano/Addition-v0": {"operations": ("addition",)},
    "o1nano/Subtraction-v0": {"operations": ("subtraction",)},
    "o1nano/Multiplication-v0": {"operations": ("multiplication",)},
    "o1nano/Division-v0": {"operations": ("division",)},
    "o1nano/Expression-v0": {"operations": ("expression",), "digits": (1, 2)},
    "o1nano/Chain-v0": {"operations": ("chain",), "digits": 1},
    "o1nano/GCD-v0": {"operations": ("gcd",)},
    "o1nano/Modular-v0": {"operations": ("modular",)},
    "o1nano/ListSum-v0": {"operations": ("list_sum",)},
    "o1nano/Comparison-v0": {"operations": ("comparison",)},
    "o1nano/Maximum-v0": {"operations": ("maximum",)},
    "o1nano/LinearEquation-v0": {"operations": ("linear_equation",)},
    # A search tries up to 30 guesses in a frame, and thousands of tokens in all.
    "o1nano/Countdown-v0": {"operations": ("countdown",), "frame_length": 768, "max_tokens": 32_768},
    "o1nano/GameOf24-v0": {"operations": ("game_of_24",), "frame_length": 768, "max_tokens": 32_768},
    # Problems that fill the frame. frame_length, up to 128,000, is also the length of the context.
    "o1nano/Recall-v0": {"operations": ("recall",), "digits": 2, "frame_length": 256, "max_tokens": 1_000_000},
    "o1nano/Ledger-v0": {"operations": ("ledger",), "digits": 2, "frame_length": 256, "max_tokens": 1_000_000},
    # One-digit problems, answers only: the easiest id, for agents that are not sequence models.
    "o1nano/Direct-v0": {
        "operations": ("addition", "subtraction"),
        "digits": 1,
        "phrasing": "symbolic",
        "thinking": False,
        "call_stack": False,
        "frame_length": 16,
        "split": "all",
    },
}


def register_envs() -> None:
    """Registers every id with its single and its native vector entry point."""
    # Gymnasium warns about ids that are registered twice.
    for name, kwargs in IDS.items():
        if name not in gym.registry:
            gym.register(
                name,
                entry_point="o1nano.envs.arithmetic:ArithmeticEnv",
                vector_entry_point="o1nano.envs.vector:ArithmeticVectorEnv",
                kwargs=kwargs,
            )
