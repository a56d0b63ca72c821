"""Gradient descent: schedules, the loop, checkpoints."""
