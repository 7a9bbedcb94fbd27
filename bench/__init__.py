"""Benchmarks that anyone can run; each prints ours beside the alternative, in one run."""
