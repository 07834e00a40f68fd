"""Which environments ``FramePPO`` can learn from."""

from __future__ import annotations

from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv, unwrap_vec_normalize

from o1nano.envs.core.config import EnvConfig
from o1nano.envs.errors import ConfigurationError
from o1nano.envs.language.vocab import VOCAB_SIZE


def read_env_config(env: VecEnv) -> EnvConfig:
    """Returns the configuration of an environment, whose grammar and limits the policy and the buffer need.

    Args:
        env: The environment as the learner sees it, with all its wrappers.

    Raises:
        ConfigurationError: If it is not an o1nano environment, or if a wrapper changes its observations or actions, so
            that frames cannot be put together from them.
    """
    try:
        config: EnvConfig = env.get_attr("config")[0]
    except AttributeError as error:
        raise ConfigurationError(f"environment {env}; expected one of o1nano's") from error

    # A wrapper that stacks, one-hot encodes or renames tokens changes a space.
    dtype = env.observation_space.dtype
    expected = spaces.Box(0, VOCAB_SIZE - 1, (config.frame_length,), dtype)  # type: ignore[arg-type]
    if env.observation_space != expected or env.action_space != spaces.Discrete(VOCAB_SIZE):
        raise ConfigurationError(
            f"observations {env.observation_space} and actions {env.action_space}; "
            f"expected token ids as the environment gives them, {expected} and {spaces.Discrete(VOCAB_SIZE)}"
        )

    # VecNormalize changes observations but not their space.
    normalize = unwrap_vec_normalize(env)
    if normalize is not None and normalize.norm_obs:
        raise ConfigurationError("VecNormalize with norm_obs=True; expected token ids, which are not normalized")
    return config
