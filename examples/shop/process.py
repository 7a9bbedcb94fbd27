"""The process of one service: `python -m examples.shop.process SERVICE STATE`. The supervisor starts it."""

import importlib
import sys
from pathlib import Path

from examples.shop.service import Service
from examples.shop.state import State


def main() -> None:
    """Build the service from the state folder, and serve."""
    name, root = sys.argv[1:]
    service: Service = importlib.import_module(f"examples.shop.services.{name}").build(State(Path(root)))
    service.serve()


if __name__ == "__main__":
    main()
