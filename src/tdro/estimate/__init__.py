"""What a run takes, told before it starts and without any weights: memory, work and time."""
