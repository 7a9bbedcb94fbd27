"""Finding what an investigation needs: look-ups that keep a search ledger, and evidence by record."""
