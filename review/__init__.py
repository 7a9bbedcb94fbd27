"""Review: whether an answer rests on its records, what may be done with it, and how well runs do over time."""
