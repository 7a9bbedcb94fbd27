"""worker: takes placed orders from the queue, in order, and marks them accepted."""

import time

from opentelemetry import context as otel_context
from opentelemetry.propagate import extract
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.util.types import AttributeValue

from examples.shop.layout import Json
from examples.shop.service import PeerError, Service
from examples.shop.state import State
from examples.shop.values import read_int, read_number, read_object, read_text

TOPIC = "orders.placed"


def build(state: State) -> Service:
    service = Service(state, "worker")
    service.loop(Worker(service).work, pause_s=0.0, name="order intake")
    return service


class Worker:
    """One message at a time."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.retry_delay_s = read_number(service.config, "retry_delay_s")

    def work(self) -> None:
        """Wait up to a second for a message, and see to it."""
        try:
            message = self.service.call(
                "queue",
                "POST",
                f"/topics/{TOPIC}/leases",
                {"wait_s": 1.0},
                timeout_s=3.0,
                purpose=f"poll of {TOPIC}",
                traced=False,
            )
        except PeerError as error:
            self.service.log.warning("%s, next poll in %.1f s", error, self.retry_delay_s)
            self.service.stopping.wait(self.retry_delay_s)
            return
        if message:
            self._consume(message)

    def _consume(self, message: Json) -> None:
        """Acknowledge the message when the order is accepted; otherwise give it back to the queue."""
        message_id = read_text(message, "message_id")
        attributes: dict[str, AttributeValue] = {
            "messaging.system": "shopqueue",
            "messaging.destination.name": TOPIC,
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.message.id": message_id,
            "messaging.message.delivery_count": read_int(message, "delivery"),
        }
        carrier = {key: str(value) for key, value in read_object(message, "headers").items()}
        token = otel_context.attach(extract(carrier))
        try:
            with self.service.span(f"process {TOPIC}", SpanKind.CONSUMER, attributes) as span:
                try:
                    self._accept(message)
                except Exception as error:  # whatever is wrong with one message, the worker goes on
                    span.record_exception(error)
                    span.set_status(Status(StatusCode.ERROR, str(error)))
                    self.service.log.exception(
                        "%s: delivery %s failed, retry in %.1f s", message_id, message["delivery"], self.retry_delay_s
                    )
                    self._settle(message_id, "nack", {"delay_s": self.retry_delay_s})
                else:
                    self._settle(message_id, "ack", {})
        finally:
            otel_context.detach(token)

    def _accept(self, message: Json) -> None:
        started = time.monotonic()
        order_id = read_text(read_object(message, "body"), "order_id")
        self.service.call(
            "orders", "POST", f"/orders/{order_id}/acceptance", {}, purpose=f"acceptance of order {order_id}"
        )
        self.service.log.info("order %s accepted in %d ms", order_id, (time.monotonic() - started) * 1000)

    def _settle(self, message_id: str, verdict: str, body: Json) -> None:
        self.service.call(
            "queue", "POST", f"/topics/{TOPIC}/messages/{message_id}/{verdict}", body, purpose=f"{verdict} {message_id}"
        )
