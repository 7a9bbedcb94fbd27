"""Pure functions from telemetry to a verdict: symptom, signals, walks over request traces, ranking, verdict rule.

Nothing here does I/O or keeps state: same input, same answer.
"""
