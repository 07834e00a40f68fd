"""Training: warm start, sequence PPO on Stable-Baselines3's hooks, checkpoints."""
