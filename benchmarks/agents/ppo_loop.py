"""PPO in one file, in the manner of CleanRL, on the native vector environment. PyTorch only.

python -m benchmarks.agents.ppo_loop --env-id o1nano/Direct-v0 --total-steps 8192
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import gymnasium as gym
import numpy as np
import torch as th
import tyro
from torch import nn
from torch.distributions import Categorical

import o1nano
from o1nano.envs.one_hot import VectorOneHotWrapper


@dataclass(frozen=True)
class Args:
    """One line for each."""

    env_id: str = "o1nano/Direct-v0"
    """Any id of the package."""
    seed: int = 0
    """Of the environments and of PyTorch."""
    num_envs: int = 16
    """Environments side by side."""
    num_steps: int = 32
    """Steps of a rollout."""
    total_steps: int = 8192
    """Steps of the run, all environments together."""
    epochs: int = 4
    """Passes over a rollout."""
    minibatches: int = 4
    """Minibatches of a pass."""
    learning_rate: float = 1e-3
    """Of Adam."""
    gamma: float = 1.0
    """Discount a token; the reward comes with the last one."""
    gae_lambda: float = 0.95
    """Of the advantage estimate."""
    clip: float = 0.2
    """Of the probability ratio."""
    entropy: float = 0.01
    """Price of certainty."""


class Agent(nn.Module):
    """Separate networks for actor and critic."""

    def __init__(self, inputs: int, actions: int) -> None:
        super().__init__()
        self.actor = nn.Sequential(nn.Linear(inputs, 64), nn.ReLU(), nn.Linear(64, actions))
        self.critic = nn.Sequential(nn.Linear(inputs, 64), nn.ReLU(), nn.Linear(64, 1))

    def forward(self, observations: th.Tensor) -> tuple[Categorical, th.Tensor]:
        """Returns the distribution of actions and the values, ``[N]``."""
        return Categorical(logits=self.actor(observations)), self.critic(observations).squeeze(-1)


class Rollout:
    """What is kept of every step; ``[num_steps, num_envs, ...]``."""

    def __init__(self, num_steps: int, num_envs: int, inputs: int) -> None:
        self.observations = th.zeros(num_steps, num_envs, inputs)
        self.actions, self.log_probs, self.rewards, self.dones, self.values = th.zeros(5, num_steps, num_envs)
        self.successes: list[bool] = []

    @th.no_grad()
    def collect(self, agent: Agent, envs: VectorOneHotWrapper, observation: th.Tensor) -> th.Tensor:
        """Plays from an observation on, and returns the last one."""
        self.successes.clear()
        for t in range(len(self.rewards)):
            distribution, self.values[t] = agent(observation)
            action = distribution.sample()
            self.observations[t], self.actions[t] = observation, action
            self.log_probs[t] = distribution.log_prob(action)
            following, reward, terminated, truncated, infos = envs.step(action.numpy())
            observation, self.rewards[t] = th.from_numpy(following), th.from_numpy(reward)
            self.dones[t] = th.from_numpy(terminated | truncated)
            if "final_info" in infos:
                self.successes += infos["final_info"]["is_success"][infos["_final_info"]].tolist()
        return observation

    @th.no_grad()
    def advantages(self, value: th.Tensor, gamma: float, gae_lambda: float) -> th.Tensor:
        """Generalised advantage estimates, given the values ``[num_envs]`` of what comes after."""
        advantages, advantage = th.zeros_like(self.rewards), th.zeros_like(value)
        for t in reversed(range(len(self.rewards))):
            going = 1 - self.dones[t]
            delta = self.rewards[t] + gamma * going * value - self.values[t]
            advantages[t] = advantage = delta + gamma * gae_lambda * going * advantage
            value = self.values[t]
        return advantages


def update(agent: Agent, optimizer: th.optim.Optimizer, rollout: Rollout, advantages: th.Tensor, args: Args) -> None:
    """Improves the agent by clipped ratios."""
    returns = advantages + rollout.values
    columns = (rollout.observations, rollout.actions, rollout.log_probs, advantages, returns)
    rows = [column.flatten(0, 1) for column in columns]
    for _ in range(args.epochs):
        for chosen in th.randperm(len(rows[0])).chunk(args.minibatches):
            observation, action, log_prob, advantage, target = (row[chosen] for row in rows)
            distribution, value = agent(observation)
            ratio = (distribution.log_prob(action) - log_prob).exp()
            advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
            gain = th.min(advantage * ratio, advantage * ratio.clamp(1 - args.clip, 1 + args.clip)).mean()
            loss = 0.5 * (value - target).square().mean() - gain - args.entropy * distribution.entropy().mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(agent.parameters(), 0.5)
            optimizer.step()


def main() -> None:
    """Trains, and prints a line an iteration."""
    args, started = tyro.cli(Args, description=__doc__), time.monotonic()
    print(f"o1nano {o1nano.__version__}, torch {th.__version__}, gymnasium {gym.__version__}")
    th.manual_seed(args.seed)
    # SAME_STEP: what follows a last step is the first observation of the next episode, so that no step is wasted.
    envs = VectorOneHotWrapper(gym.make_vec(args.env_id, num_envs=args.num_envs, autoreset_mode="SameStep"))
    inputs = envs.single_observation_space.shape[0]
    agent = Agent(inputs, int(envs.single_action_space.n))
    optimizer = th.optim.Adam(agent.parameters(), lr=args.learning_rate)
    rollout = Rollout(args.num_steps, args.num_envs, inputs)
    observation, steps = th.from_numpy(envs.reset(seed=args.seed)[0]), 0
    while steps < args.total_steps:
        observation = rollout.collect(agent, envs, observation)
        with th.no_grad():
            value = agent(observation)[1]
        update(agent, optimizer, rollout, rollout.advantages(value, args.gamma, args.gae_lambda), args)
        steps += rollout.rewards.numel()
        print(f"step {steps} success {np.mean(rollout.successes):.3f} {time.monotonic() - started:.1f} s")


if __name__ == "__main__":
    main()
