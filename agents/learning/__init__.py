"""What changes weights: imitation, the rollout buffer of whole frames, and PPO."""
