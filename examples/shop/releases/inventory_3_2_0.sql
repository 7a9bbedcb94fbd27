-- inventory 3.2.0: returns are booked with the order they belong to. SQLite cannot add a NOT NULL column without a
-- constant default, so the ledger is rebuilt.
CREATE TABLE stock_movements_new (
  id INTEGER PRIMARY KEY,
  sku TEXT NOT NULL,
  warehouse_id INTEGER NOT NULL,
  delta INTEGER NOT NULL,
  reason TEXT NOT NULL,
  moved_at TEXT NOT NULL,
  order_id TEXT NOT NULL DEFAULT ''
);
INSERT INTO stock_movements_new (id, sku, warehouse_id, delta, reason, moved_at)
SELECT id, sku, warehouse_id, delta, reason, moved_at FROM stock_movements;
DROP TABLE stock_movements;
ALTER TABLE stock_movements_new RENAME TO stock_movements;
