"""MariaDB: the schema, named queries, typed rows, the job queue, content-addressed blobs, the private local server."""
