"""One module per service; each has `build(state) -> Service`."""
