"""The device to compute on, and what it computes fast."""

from __future__ import annotations

from pathlib import Path

import torch as th

from o1nano.envs.errors import ConfigurationError


def find_device(device: str) -> str:
    """Returns the device that a flag names.

    Args:
        device: ``"cpu"``, ``"cuda"``, ``"cuda:1"`` and so on, or ``"auto"``: the GPU if there is one.

    Raises:
        ConfigurationError: If there is no such device.
    """
    available = ["auto", "cpu"]
    if th.cuda.is_available():
        available.append("cuda")
        available += [f"cuda:{index}" for index in range(th.cuda.device_count())]
    if device not in available:
        raise ConfigurationError(f"device={device[:40]!r}; expected one of {', '.join(available)}")

    if device == "auto":
        return "cuda" if th.cuda.is_available() else "cpu"
    return device


def has_bf16(device: str) -> bool:
    """Returns whether a device computes bfloat16 products in hardware. Emulated ones are slower than float32.

    Args:
        device: As ``find_device`` takes it.
    """
    if device != "cpu" and th.cuda.is_available():
        return True

    # PyTorch names the vector instructions but not those for bfloat16; Linux lists both.
    capabilities = getattr(th.backends.cpu, "get_cpu_capability", lambda: "")()
    cpuinfo = Path("/proc/cpuinfo")
    flags = cpuinfo.read_text() if cpuinfo.is_file() else ""
    return "AVX512" in capabilities and ("avx512_bf16" in flags or "amx_bf16" in flags)
