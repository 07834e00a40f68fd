"""The mechanism: tokens in, frames pushed and popped, rewards out."""
