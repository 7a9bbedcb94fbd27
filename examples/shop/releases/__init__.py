"""The code that differs from release to release: a service loads the module of the version in its config."""
