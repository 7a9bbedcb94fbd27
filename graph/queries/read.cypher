// Reading. Rows of edges: source, target, observed_by, valid_from_us, valid_to_us, last_seen_us, count, errors, stated,
// level. Only scalars are returned: nodes and edges would need the client's cached schema, which another process
// may have made stale.

// name: calls_as_of
MATCH (a:Service)-[r:CALLS]->(b:Service)
WHERE r.valid_from_us <= $until_us AND (r.valid_to_us IS NULL OR r.valid_to_us > $since_us)
RETURN a.name, b.name, r.observed_by, r.valid_from_us, r.valid_to_us, r.last_seen_us, r.count, r.errors, r.stated, r.level

// name: runs_on_as_of
MATCH (a:Service)-[r:RUNS_ON]->(b:Node)
WHERE r.valid_from_us <= $until_us AND (r.valid_to_us IS NULL OR r.valid_to_us > $since_us)
RETURN a.name, b.name, r.observed_by, r.valid_from_us, r.valid_to_us, r.last_seen_us, r.count, r.errors, r.stated, r.level

// name: emitted_as_of
MATCH (a:Service)-[r:EMITTED]->(b:LogTemplate)
WHERE r.valid_from_us <= $until_us AND (r.valid_to_us IS NULL OR r.valid_to_us > $since_us)
RETURN a.name, b.id, r.observed_by, r.valid_from_us, r.valid_to_us, r.last_seen_us, r.count, r.errors, r.stated, r.level

// name: changed_as_of
MATCH (a:Change)-[r:CHANGED]->(b:Service)
WHERE r.valid_from_us <= $until_us AND (r.valid_to_us IS NULL OR r.valid_to_us > $since_us)
RETURN a.id, b.name, r.observed_by, r.valid_from_us, r.valid_to_us, r.last_seen_us, r.count, r.errors, r.stated, r.level

// name: calls_between
MATCH (a:Service {name: $source})-[r:CALLS]->(b:Service {name: $target})
RETURN a.name, b.name, r.observed_by, r.valid_from_us, r.valid_to_us, r.last_seen_us, r.count, r.errors, r.stated, r.level

// name: runs_on_between
MATCH (a:Service {name: $source})-[r:RUNS_ON]->(b:Node {name: $target})
RETURN a.name, b.name, r.observed_by, r.valid_from_us, r.valid_to_us, r.last_seen_us, r.count, r.errors, r.stated, r.level

// name: emitted_between
MATCH (a:Service {name: $source})-[r:EMITTED]->(b:LogTemplate {id: $target})
RETURN a.name, b.id, r.observed_by, r.valid_from_us, r.valid_to_us, r.last_seen_us, r.count, r.errors, r.stated, r.level

// name: changed_between
MATCH (a:Change {id: $source})-[r:CHANGED]->(b:Service {name: $target})
RETURN a.id, b.name, r.observed_by, r.valid_from_us, r.valid_to_us, r.last_seen_us, r.count, r.errors, r.stated, r.level

// name: calls_from
UNWIND $services AS service
MATCH (a:Service {name: service})-[r:CALLS]->(b:Service)
WHERE r.valid_from_us <= $until_us AND (r.valid_to_us IS NULL OR r.valid_to_us > $since_us)
RETURN a.name, b.name, r.observed_by, r.valid_from_us, r.valid_to_us, r.last_seen_us, r.count, r.errors, r.stated, r.level
LIMIT $limit

// name: calls_to
UNWIND $services AS service
MATCH (b:Service {name: service})<-[r:CALLS]-(a:Service)
WHERE r.valid_from_us <= $until_us AND (r.valid_to_us IS NULL OR r.valid_to_us > $since_us)
RETURN a.name, b.name, r.observed_by, r.valid_from_us, r.valid_to_us, r.last_seen_us, r.count, r.errors, r.stated, r.level
LIMIT $limit

// Calls that began, or ended, between two moments and hold at the later, or held at the earlier one. Without labels: with
// them the planner would go through all services and not through the index of the calls.
// name: calls_came
MATCH (a)-[r:CALLS]->(b)
WHERE r.valid_from_us > $earlier_us AND r.valid_from_us <= $later_us
  AND (r.valid_to_us IS NULL OR r.valid_to_us > $later_us)
RETURN a.name, b.name, r.observed_by, r.valid_from_us, r.valid_to_us, r.last_seen_us, r.count, r.errors, r.stated, r.level

// name: calls_went
MATCH (a)-[r:CALLS]->(b)
WHERE r.valid_to_us > $earlier_us AND r.valid_to_us <= $later_us AND r.valid_from_us <= $earlier_us
RETURN a.name, b.name, r.observed_by, r.valid_from_us, r.valid_to_us, r.last_seen_us, r.count, r.errors, r.stated, r.level

// name: pairs_at
UNWIND $pairs AS p
MATCH (a:Service {name: p[0]}) WITH p, a MATCH (b:Service {name: p[1]}) WITH p, a, b
MATCH (a)-[r:CALLS]->(b)
WHERE r.valid_from_us <= $moment_us AND (r.valid_to_us IS NULL OR r.valid_to_us > $moment_us)
RETURN DISTINCT p[0], p[1]

// name: runs_on_from
UNWIND $services AS service
MATCH (a:Service {name: service})-[r:RUNS_ON]->(b:Node)
WHERE r.valid_from_us <= $moment_us AND (r.valid_to_us IS NULL OR r.valid_to_us > $moment_us)
RETURN a.name, b.name, r.observed_by, r.valid_from_us, r.valid_to_us, r.last_seen_us, r.count, r.errors, r.stated, r.level
LIMIT $limit

// The gravest templates of each service, and its newest changes: a service that wrote ten thousand drowns nobody else.
// name: emitted_from
UNWIND $services AS service
CALL {
  WITH service
  MATCH (a:Service {name: service})-[r:EMITTED]->(b:LogTemplate)
  WHERE r.valid_from_us < $until_us AND r.last_seen_us >= $since_us
  RETURN a, r, b ORDER BY r.level DESC, r.last_seen_us DESC, b.id LIMIT $limit
}
RETURN a.name, b.id, r.observed_by, r.valid_from_us, r.valid_to_us, r.last_seen_us, r.count, r.errors, r.stated, r.level

// name: changed_to
UNWIND $services AS service
CALL {
  WITH service
  MATCH (b:Service {name: service})<-[r:CHANGED]-(a:Change)
  WHERE r.valid_from_us < $until_us AND r.valid_from_us >= $since_us
  RETURN a, r, b ORDER BY r.valid_from_us DESC, a.id LIMIT $limit
}
RETURN a.id, b.name, r.observed_by, r.valid_from_us, r.valid_to_us, r.last_seen_us, r.count, r.errors, r.stated, r.level

// name: templates_of
MATCH (a:Service {name: $service})-[r:EMITTED]->(b:LogTemplate)
RETURN a.name, b.id, max(r.level), min(r.valid_from_us), max(r.last_seen_us), sum(r.count), sum(r.errors)
ORDER BY b.id

// name: services
MATCH (s:Service) RETURN s.name ORDER BY s.name

// name: followed_to
MATCH (p:Projection {id: 'topology'}) RETURN p.seq
