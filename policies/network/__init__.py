"""What is trained: a causal transformer with its output heads."""
