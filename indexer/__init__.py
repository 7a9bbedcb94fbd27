"""A code base as the assistant knows it: a Merkle tree of its files, chunks, symbols, calls and log statements."""
