"""Which device to compute on, and what it is good at."""

from __future__ import annotations

from pathlib import Path

import torch as th

from o1nano.envs.errors import ConfigurationError


def find_device(device: str) -> str:
    """Returns the device that a flag names; ``"auto"`` is the GPU, where there is one.

    Raises:
        ConfigurationError: If there is no such device.
    """
    there = ["auto", "cpu", "cuda", *(f"cuda:{index}" for index in range(th.cuda.device_count()))]
    there = there if th.cuda.is_available() else there[:2]
    if device not in there:
        raise ConfigurationError(f"device={device[:40]!r}; expected one of {', '.join(there)}")
    if device == "auto":
        return "cuda" if th.cuda.is_available() else "cpu"
    return device


def has_bf16(device: str) -> bool:
    """Tells whether a device computes bfloat16 products in hardware; emulated ones only cost time."""
    if device != "cpu" and th.cuda.is_available():
        return True
    capabilities = getattr(th.backends.cpu, "get_cpu_capability", lambda: "")()
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").is_file() else ""
    return "AVX512" in capabilities and ("avx512_bf16" in flags or "amx_bf16" in flags)
