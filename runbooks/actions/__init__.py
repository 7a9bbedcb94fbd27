"""What workflows can do: commands, HTTP requests, SQL statements, Kubernetes changes, and actions of your own."""

from runbooks.actions.interface import Action

__all__ = ["Action"]
