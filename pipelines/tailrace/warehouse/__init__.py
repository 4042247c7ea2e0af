"""The database: connections, SQL statements, engine differences and memory."""
