"""O1-nano: o1-style reasoning as reinforcement learning that fits on a laptop.

Importing this package registers the environments (by string entry point: neither torch nor Stable-Baselines3 is
imported) and makes ``o1nano.envs``, ``o1nano.policies`` and ``o1nano.agents`` importable from a checkout as well as
from an installation.
"""

from pathlib import Path

__version__ = "0.1.0"

_checkout = Path(__file__).resolve().parent.parent
if (_checkout / "setup.cfg").is_file() and (_checkout / "envs").is_dir():
    # In a checkout the three packages lie beside this one; an installation has them below it (see setup.cfg).
    __path__.append(str(_checkout))

from o1nano.envs.registration import register_envs  # noqa: E402

register_envs()
