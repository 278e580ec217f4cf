"""Training, evaluation, checkpoints, speed, and what the machine can do."""
