"""One training run: configured, built, logged, stopped and resumed."""
