-- Chunks wait for their vectors in this order.

ALTER TABLE code_chunk ADD KEY IF NOT EXISTS by_urgency (urgency, id);
