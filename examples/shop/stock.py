"""The stock ledger of `inventory`: every movement is a row, what is available is their sum."""

import sqlite3
from pathlib import Path

SKUS = 2_000
MOVEMENTS = 240_000
WAREHOUSES = 16
INDEX = "ix_stock_movements_sku"

_SCHEMA = """
CREATE TABLE warehouses (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE stock_movements (
  id INTEGER PRIMARY KEY,
  sku TEXT NOT NULL,
  warehouse_id INTEGER NOT NULL,
  delta INTEGER NOT NULL,
  reason TEXT NOT NULL,
  moved_at TEXT NOT NULL
);
"""

_FILL_WAREHOUSES = """
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
INSERT INTO warehouses SELECT i, printf('WH-%02d', i) FROM n
"""

_FILL_MOVEMENTS = """
WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < ? - 1)
INSERT INTO stock_movements (sku, warehouse_id, delta, reason, moved_at)
SELECT printf('SKU-%05d', i % ?), 1 + (i / ?) % ?, 5000, 'goods receipt ' || i, '2026-01-01T00:00:00Z' FROM n
"""


def ensure(path: Path) -> None:
    """Create and fill the ledger with its index when the file is missing; about a second."""
    if path.exists():
        return
    part = path.with_suffix(".part")
    part.unlink(missing_ok=True)
    db = sqlite3.connect(part)
    db.executescript(_SCHEMA)
    db.execute(_FILL_WAREHOUSES, (WAREHOUSES,))
    db.execute(_FILL_MOVEMENTS, (MOVEMENTS, SKUS, SKUS, WAREHOUSES))
    db.commit()
    db.close()
    create_index(part)
    part.replace(path)


def create_index(path: Path) -> None:
    """Index the ledger by article. Safe while the service runs; writers wait for it, about 0.3 s."""
    _run(path, f"CREATE INDEX IF NOT EXISTS {INDEX} ON stock_movements (sku, warehouse_id, delta)")


def describe_indexes(path: Path) -> str:
    """The indexes of the ledger."""
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)
    try:
        rows = db.execute(
            "SELECT name FROM sqlite_master WHERE type = 'index' AND tbl_name = 'stock_movements'"
        ).fetchall()
    finally:
        db.close()
    return "indexes of stock_movements: " + (", ".join(sorted(str(row[0]) for row in rows)) or "none")


def migrate(path: Path, script: Path) -> None:
    """Run the migration of a release against the live ledger, in one transaction."""
    _run(path, f"BEGIN IMMEDIATE; {script.read_text()} COMMIT;")


def _run(path: Path, script: str) -> None:
    db = sqlite3.connect(path, timeout=10, isolation_level=None)
    try:
        db.executescript(script)
    finally:
        db.close()
