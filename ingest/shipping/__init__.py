"""The node shipper: reads files, container logs, the journal or a pipe, and delivers their lines to a server once each.

Reading order: `line` (what is shipped), `source` (the interface), the sources (`files`, `journal`, `pipe`), `state`
(cursors and the outbox, moved together), `shipper` (the loop), `sink` (HTTP). It runs on nodes beside other people's
work, so nothing heavy is imported here.
"""
