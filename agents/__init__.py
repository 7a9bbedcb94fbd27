"""The team: planner, log, topology, metric, code, runbook, explainer and judge agents on one LangGraph graph."""
