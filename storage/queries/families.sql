-- Slots of families of templates, which are opened once and for good.

-- name: opened_slots
SELECT text FROM family_slot WHERE environment = ? AND version = ? ORDER BY opened_us, id LIMIT ?

-- name: open_slot
INSERT INTO family_slot (environment, version, id, text, opened_us) VALUES (?, ?, ?, ?, ?)
ON DUPLICATE KEY UPDATE id = family_slot.id
