"""`python -m examples.shop run ...` runs a shop; the other commands are what its operators do."""

import argparse
import getpass
import json
import signal
import sys
import threading
from dataclasses import asdict
from pathlib import Path

from examples.shop.control import ControlError, send_command
from examples.shop.faults import FAULTS
from examples.shop.scenario import run_scenario
from examples.shop.shop import Shop, ShopError
from examples.shop.state import State

DEFAULT_STATE = "shop-state"

OPERATIONS = {
    "status": ("show the services and the queue", ()),
    "restart": ("restart a service", ("service",)),
    "rollback": ("undo the last deploy or edit of a service", ("service",)),
    "roll-forward": ("take the last rollback of a service back", ("service",)),
    "config": ("show the settings of a service, and those before", ("service",)),
    "certificate": ("show the dates of the bank's certificate", ()),
    "indexes": ("show the indexes of the stock ledger", ()),
    "queue-head": ("show the message that is next", ()),
    "deploy": ("deploy a version of a service", ("service", "version")),
    "set-config": ("change a setting, such as `payment bank_timeout_s 2.0`", ("service", "key", "value")),
    "renew-cert": ("issue a new certificate for the bank", ()),
    "create-index": ("create the index of the stock ledger", ()),
    "queue": ("list the messages that wait", ()),
    "drop-message": ("drop a message from the queue, by its id or `head`", ("message",)),
    "inject": ("inject a fault", ("fault",)),
    "mend": ("mend a fault", ("fault",)),
}


def main() -> int:
    """Parse the command line and run the command; 0 when it worked."""
    options = _parser().parse_args()
    try:
        if options.command == "run":
            return _run(options)
        if options.command == "faults":
            print("\n".join(f"{fault.name:16} {fault.description}" for fault in FAULTS.values()))
            return 0
        _, names = OPERATIONS[options.command]
        arguments = [options.command, *(getattr(options, name) for name in names)]
        print(send_command(State(Path(options.state)).control, arguments, options.actor))
    except (ControlError, ShopError, TimeoutError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m examples.shop", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="run the shop: with --fault a script, without it until Ctrl-C")
    run.add_argument("--state", default=DEFAULT_STATE, help="the state folder, created when missing")
    run.add_argument("--otlp", help="base URL of an OTLP/HTTP receiver")
    run.add_argument("--otlp-headers", default="", help="key=value,... sent with telemetry and to the hooks")
    run.add_argument("--changes-url", help="where changes are posted")
    run.add_argument("--events-url", help="where orchestrator events are posted")
    run.add_argument("--environment", default="shop", help="deployment.environment.name")
    run.add_argument("--fault", choices=list(FAULTS))
    run.add_argument("--rps", type=float, default=16.0, help="customers' requests per second")
    run.add_argument("--warmup", type=float, default=20.0, help="seconds before the fault")
    run.add_argument("--broken", type=float, default=20.0, help="seconds with the fault")
    run.add_argument("--mended", type=float, default=0.0, help="seconds after mending it; 0 leaves it")
    run.add_argument("--seed", type=int, default=1)
    run.add_argument("--json", action="store_true", help="print the report as JSON, progress to stderr")
    commands.add_parser("faults", help="list the faults")
    for name, (help_text, arguments) in OPERATIONS.items():
        operation = commands.add_parser(name, help=help_text)
        operation.add_argument("--state", default=DEFAULT_STATE, help="the state folder of the running shop")
        operation.add_argument("--actor", default=getpass.getuser(), help="who does it")
        for argument in arguments:
            operation.add_argument(argument)
    return parser


def _run(options: argparse.Namespace) -> int:
    headers = dict(pair.split("=", 1) for pair in options.otlp_headers.split(",") if "=" in pair)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if options.fault is None:
        return _run_until_interrupted(options, headers)
    report = run_scenario(
        options.state,
        options.fault,
        otlp_endpoint=options.otlp,
        headers=headers,
        changes_url=options.changes_url,
        events_url=options.events_url,
        environment=options.environment,
        seed=options.seed,
        rps=options.rps,
        warmup=options.warmup,
        broken=options.broken,
        mended=options.mended,
        progress=lambda line: print(line, file=sys.stderr if options.json else sys.stdout, flush=True),
    )
    if options.json:
        print(json.dumps(asdict(report), default=str, indent=2))
    return 0


def _run_until_interrupted(options: argparse.Namespace, headers: dict[str, str]) -> int:
    shop = Shop(
        options.state,
        otlp_endpoint=options.otlp,
        headers=headers,
        changes_url=options.changes_url,
        events_url=options.events_url,
        environment=options.environment,
        seed=options.seed,
    )
    with shop:
        shop.load(options.rps)
        print(shop.status(), flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            print("stopping", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
