"""The commands, a module for each subject. What is heavy is imported inside them, so that `--help` is quick."""
