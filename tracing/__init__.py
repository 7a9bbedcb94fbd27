"""Decision traces: what a run did, what it chose and why. No I/O of its own: a sink is passed in."""

from tracing.events import Event
from tracing.fold import fold
from tracing.scorecard import scorecard
from tracing.trace import Sink, Trace, current_trace, start_trace
from tracing.view import TraceView

__all__ = ["Event", "Sink", "Trace", "TraceView", "current_trace", "fold", "scorecard", "start_trace"]
