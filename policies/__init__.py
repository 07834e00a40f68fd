"""The reasoning policy: a small causal transformer with its heads, its cache and its Stable-Baselines3 interface."""
