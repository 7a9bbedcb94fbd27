-- name: server_version
SELECT VERSION()

-- name: session_settings
SET SESSION time_zone = '+00:00', innodb_lock_wait_timeout = 20, sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', transaction_isolation = 'READ-COMMITTED'

-- name: first_warning
SHOW WARNINGS LIMIT 1

-- name: applied_migrations
SELECT version FROM schema_migration ORDER BY version

-- name: record_migration
INSERT INTO schema_migration (version, name, applied_us) VALUES (?, ?, ?)

-- name: has_migration_table
SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = 'schema_migration'

-- name: take_migration_lock
SELECT GET_LOCK(CONCAT('causegraph-migrate-', DATABASE()), ?)

-- name: release_migration_lock
SELECT RELEASE_LOCK(CONCAT('causegraph-migrate-', DATABASE()))
