"""Benchmarks from local copies of published collections, a file for each layout."""
