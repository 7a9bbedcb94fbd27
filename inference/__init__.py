"""Language models and embedders: the one place that speaks to a model, on this machine or elsewhere."""
