"""More tokens for a better answer: several attempts, votes, self-checks, and the solver."""
