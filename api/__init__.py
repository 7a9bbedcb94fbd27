"""The ways in over HTTP: ingest, chat, records, and the web pages."""
