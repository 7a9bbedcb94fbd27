"""The words that every part of Causegraph shares: records, evidence, verdicts, settings, errors. No I/O here."""
