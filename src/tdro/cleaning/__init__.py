"""Tasks beside benchmarks and beside each other: what to take out before anything is trained."""
