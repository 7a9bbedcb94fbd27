"""Groups lines with drain3, in a Python environment of its own: `bench.templates` starts it and reads its answer.

Reads {"lines": [...], "masks": [[regex, name], ...]} from stdin, writes {"groups": [...], "cold": s, "warm": s}.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any


def main() -> None:
    """Group the lines once cold, then once more with everything learned."""
    from drain3 import TemplateMiner  # type: ignore[import-not-found]  # lives in an environment of its own
    from drain3.masking import MaskingInstruction  # type: ignore[import-not-found]  # as above
    from drain3.template_miner_config import TemplateMinerConfig  # type: ignore[import-not-found]  # as above

    logging.disable()
    asked: dict[str, Any] = json.load(sys.stdin)
    config = TemplateMinerConfig()
    config.masking_instructions = [MaskingInstruction(pattern, name) for pattern, name in asked["masks"]]
    miner = TemplateMiner(config=config)
    groups, seconds = [], []
    for _ in range(2):
        began = time.process_time()
        groups = [miner.add_log_message(line)["cluster_id"] for line in asked["lines"]]
        seconds.append(time.process_time() - began)
        if len(seconds) == 1:
            first = groups
    json.dump({"groups": first, "cold": seconds[0], "warm": seconds[1]}, sys.stdout)


if __name__ == "__main__":
    main()
