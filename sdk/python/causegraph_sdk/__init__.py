"""Sends traces of agents to a Causegraph server, without ever blocking or breaking its host."""

from causegraph_sdk.client import SpanHandle, TraceClient, TraceHandle
from causegraph_sdk.sender import Stats

__all__ = ["SpanHandle", "Stats", "TraceClient", "TraceHandle"]
