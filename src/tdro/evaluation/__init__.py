"""Judging retrievers on benchmarks."""
