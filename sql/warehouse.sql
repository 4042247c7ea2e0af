-- name: version
-- The engine's own version.
SELECT VERSION()

-- name: version (snowflake)
-- The engine's own version.
SELECT CURRENT_VERSION()

-- name: set_session
-- Reads and shows timestamps without a time zone as UTC in this session.
SET TimeZone = 'UTC'

-- name: set_session (postgres)
-- The same; floats have all their digits, and no statement is compiled, which takes longer than a page of
-- messages. A plan joins some 500,000 members in 64 MB, or in the server's own limit if that is higher.
SELECT
  SET_CONFIG('TimeZone', 'UTC', FALSE),
  SET_CONFIG('extra_float_digits', '1', FALSE),
  SET_CONFIG('jit', 'off', FALSE),
  CASE WHEN PG_SIZE_BYTES(CURRENT_SETTING('work_mem')) < PG_SIZE_BYTES('64MB')
    THEN SET_CONFIG('work_mem', '64MB', FALSE)
  END

-- name: set_session (snowflake)
-- Reads and shows timestamps without a time zone as UTC in this session.
ALTER SESSION SET TIMEZONE = 'UTC'

-- name: set_session (mariadb)
-- Reads and shows timestamps without a time zone as UTC in this session.
SET SESSION time_zone = '+00:00'

-- name: set_session (clickhouse)
-- The same; a side of an outer join without a row has NULLs, and not the default values of its types. A name
-- in WHERE is that of a column, and not of an expression of the SELECT.
SET session_timezone = 'UTC', join_use_nulls = 1, prefer_column_name_to_alias = 1

-- name: session_number
-- The number of the PostgreSQL session that runs this statement.
SELECT PG_BACKEND_PID()

-- name: lock_name
-- Whether a MariaDB session has the lock of a name, for which it waits so many seconds.
SELECT GET_LOCK(:name, :seconds_max)

-- name: unlock_name
-- The session no longer has it. A session that ends has no lock.
SELECT RELEASE_LOCK(:name)

-- name: only_reads
-- Whether a PostgreSQL session may only read, as a replica or by the settings of its user.
SELECT PG_IS_IN_RECOVERY() OR s.reset_val = 'on'
FROM pg_catalog.pg_settings AS s
WHERE s.name = 'default_transaction_read_only'

-- name: idle_limits
-- How long a PostgreSQL session may be idle, in a transaction and outside of one; 0 is no limit.
SELECT
  CURRENT_SETTING('idle_in_transaction_session_timeout', TRUE),
  CURRENT_SETTING('idle_session_timeout', TRUE)

-- name: keep_order
-- Results keep the order in which rows are stored.
SET SESSION preserve_insertion_order = TRUE

-- name: set_streaming_buffer
-- Limits how much of a streamed result the engine buffers.
SET SESSION streaming_buffer_size = :buffer_size

-- name: set_vacuum
-- Limits how many parts of a table a checkpoint may rewrite to remove deleted rows.
SET max_vacuum_tasks = :tasks_max

-- name: dataset
-- One row if the dataset exists.
SELECT schema_name FROM information_schema.schemata WHERE schema_name = :dataset

-- name: dataset (snowflake)
-- One row if the dataset exists; dlt creates datasets in upper case.
SELECT schema_name FROM information_schema.schemata WHERE schema_name = UPPER(:dataset)

-- name: dataset (postgres)
-- One row if the dataset exists, also for a user who may not use it.
SELECT nspname FROM pg_catalog.pg_namespace WHERE nspname = :dataset

-- name: create_dataset
-- Creates a dataset, whose name is that of the column.
CREATE SCHEMA IF NOT EXISTS _

-- name: tables
-- The tables and views of a dataset.
SELECT table_name FROM information_schema.tables WHERE table_schema = :dataset

-- name: tables (snowflake)
-- The tables and views of a dataset, in lower case.
SELECT LOWER(table_name) FROM information_schema.tables WHERE table_schema = UPPER(:dataset)
UNION
SELECT LOWER(table_name) FROM information_schema.views WHERE table_schema = UPPER(:dataset)

-- name: row_counts
-- The tables and views of a dataset, for an engine whose catalog has no numbers of rows.
SELECT table_name, CAST(NULL AS BIGINT) FROM information_schema.tables WHERE table_schema = :dataset

-- name: row_counts (duckdb)
-- About how many rows each table of a dataset has; NULL where it is not known.
SELECT table_name, CASE WHEN estimated_size > 0 THEN estimated_size END
FROM DUCKDB_TABLES()
WHERE schema_name = :dataset AND database_name = CURRENT_DATABASE()

-- name: row_counts (postgres)
-- About how many rows each table of a dataset has; NULL where it was never analyzed.
SELECT c.relname, CASE WHEN c.reltuples >= 0 THEN CAST(c.reltuples AS BIGINT) END
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = :dataset AND c.relkind IN ('r', 'p', 'm')

-- name: row_counts (mariadb)
-- About how many rows each table of a dataset has; NULL for a view.
SELECT table_name, table_rows FROM information_schema.tables WHERE table_schema = :dataset

-- name: columns
-- The columns of a table or view in their order.
SELECT column_name, data_type
FROM information_schema.columns
WHERE table_name = :name AND table_schema = :dataset
ORDER BY ordinal_position

-- name: columns (duckdb)
-- The columns of a table or view in their order; the dataset `temp` is the session's own.
SELECT column_name, data_type
FROM DUCKDB_COLUMNS()
WHERE table_name = :name
  AND ((schema_name = :dataset AND database_name = CURRENT_DATABASE())
       OR (:dataset = 'temp' AND database_name = 'temp'))
ORDER BY column_index

-- name: columns (postgres)
-- The columns of a table or view in their order, with full types.
SELECT a.attname, FORMAT_TYPE(a.atttypid, a.atttypmod)
FROM pg_catalog.pg_attribute AS a
JOIN pg_catalog.pg_class AS c ON c.oid = a.attrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relname = :name
  AND (n.nspname = :dataset OR (:dataset = 'pg_temp' AND n.oid = PG_MY_TEMP_SCHEMA()))
  AND a.attnum > 0
  AND NOT a.attisdropped
ORDER BY a.attnum

-- name: columns (snowflake)
-- The columns of a table or view in their order; numbers have the widest precision.
SELECT
  column_name,
  CASE WHEN numeric_scale IS NULL THEN data_type ELSE CONCAT('NUMBER(38,', numeric_scale, ')') END
FROM information_schema.columns
WHERE table_name = UPPER(:name) AND table_schema = UPPER(:dataset)
ORDER BY ordinal_position

-- name: columns (mariadb)
-- The columns of a table or view in their order. Numbers and texts have one type each, whatever their
-- length; a document is a text that is checked to be one.
SELECT
  c.column_name,
  CASE
    WHEN c.column_type = 'tinyint(1)' THEN 'BOOLEAN'
    WHEN c.column_type LIKE '%unsigned%' THEN UPPER(c.column_type)
    WHEN c.data_type IN ('tinyint', 'smallint', 'mediumint', 'int', 'bigint') THEN 'BIGINT'
    WHEN c.data_type = 'decimal' THEN CONCAT('DECIMAL(', c.numeric_precision, ',', c.numeric_scale, ')')
    WHEN c.data_type IN ('double', 'float') THEN 'DOUBLE'
    WHEN c.data_type IN ('datetime', 'timestamp') THEN 'DATETIME(6)'
    WHEN c.data_type = 'time' THEN 'TIME(6)'
    WHEN c.collation_name = 'utf8mb4_bin' THEN 'JSON'
    WHEN c.collation_name IS NOT NULL THEN 'LONGTEXT'
    ELSE UPPER(c.data_type)
  END
FROM information_schema.columns AS c
WHERE c.table_name = :name AND c.table_schema = :dataset
ORDER BY c.ordinal_position

-- name: columns_in
-- The columns of every table and view of a dataset in their order.
SELECT table_name, column_name, data_type
FROM information_schema.columns
WHERE table_schema = :dataset
ORDER BY table_name, ordinal_position

-- name: columns_in (duckdb)
-- The columns of every table and view of a dataset in their order.
SELECT table_name, column_name, data_type
FROM DUCKDB_COLUMNS()
WHERE schema_name = :dataset AND database_name = CURRENT_DATABASE()
ORDER BY table_name, column_index

-- name: columns_in (postgres)
-- The columns of every table and view of a dataset in their order, with full types.
SELECT c.relname, a.attname, FORMAT_TYPE(a.atttypid, a.atttypmod)
FROM pg_catalog.pg_attribute AS a
JOIN pg_catalog.pg_class AS c ON c.oid = a.attrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = :dataset AND c.relkind IN ('r', 'v', 'm', 'p', 'f')
  AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY c.relname, a.attnum

-- name: columns_in (snowflake)
-- The columns of every table and view of a dataset in their order, as in `columns`.
SELECT
  LOWER(table_name),
  column_name,
  CASE WHEN numeric_scale IS NULL THEN data_type ELSE CONCAT('NUMBER(38,', numeric_scale, ')') END
FROM information_schema.columns
WHERE table_schema = UPPER(:dataset)
ORDER BY table_name, ordinal_position

-- name: columns_in (mariadb)
-- The columns of every table and view of a dataset in their order, as in `columns`.
SELECT
  c.table_name,
  c.column_name,
  CASE
    WHEN c.column_type = 'tinyint(1)' THEN 'BOOLEAN'
    WHEN c.column_type LIKE '%unsigned%' THEN UPPER(c.column_type)
    WHEN c.data_type IN ('tinyint', 'smallint', 'mediumint', 'int', 'bigint') THEN 'BIGINT'
    WHEN c.data_type = 'decimal' THEN CONCAT('DECIMAL(', c.numeric_precision, ',', c.numeric_scale, ')')
    WHEN c.data_type IN ('double', 'float') THEN 'DOUBLE'
    WHEN c.data_type IN ('datetime', 'timestamp') THEN 'DATETIME(6)'
    WHEN c.data_type = 'time' THEN 'TIME(6)'
    WHEN c.collation_name = 'utf8mb4_bin' THEN 'JSON'
    WHEN c.collation_name IS NOT NULL THEN 'LONGTEXT'
    ELSE UPPER(c.data_type)
  END
FROM information_schema.columns AS c
WHERE c.table_schema = :dataset
ORDER BY c.table_name, c.ordinal_position

-- name: describe
-- Creates a view of a query, so that the engine binds the query without running it.
CREATE TEMPORARY VIEW described AS SELECT * FROM query AS q

-- name: query_columns
-- The columns of a query, which the engine binds without running it.
DESCRIBE SELECT * FROM query AS q

-- name: platform
-- The platform that extensions are built for, such as linux_amd64.
PRAGMA platform

-- name: attach_lake
-- Attaches a DuckLake, which is created if its catalog is empty.
ATTACH :catalog AS lake (DATA_PATH :storage)

-- name: current_database
-- The name of the database that a session works in.
SELECT CURRENT_DATABASE()

-- name: attach_empty
-- Creates an empty database, for a session that detaches the one that it works in.
ATTACH ':memory:' AS tr__empty

-- name: use_empty
-- Lets a session work in it.
USE tr__empty

-- name: disable_external_access
-- Denies files, extensions and logs to the SQL of models.
SET allow_community_extensions = FALSE;
SET autoload_known_extensions = FALSE;
SET autoinstall_known_extensions = FALSE;
SET enable_logging = FALSE;
SET python_enable_replacements = FALSE;
SET enable_external_access = FALSE

-- name: allow_folder
-- Exempts one more folder, or the URL of a bucket, from the denial of external access.
SET allowed_directories = LIST_APPEND(CURRENT_SETTING('allowed_directories'), :folder)

-- name: retry_commits
-- Lets a commit to a DuckLake be tried again while other sessions commit, after pauses of one length.
-- By default it is tried ten times, after pauses that grow, and loses to a session that writes often.
SET GLOBAL ducklake_max_retry_count = :tries_max;
SET GLOBAL ducklake_retry_wait_ms = :pause_ms;
SET GLOBAL ducklake_retry_backoff = 1

-- name: defer_checkpoints
-- Lets a load write this much before the file is completed, as dlt does.
SET GLOBAL checkpoint_threshold = '1GB'

-- name: lock_configuration
-- Locks every setting except those that a run changes.
SET allowed_configs = ['memory_limit', 'threads', 'max_vacuum_tasks', 'streaming_buffer_size', 'preserve_insertion_order', 'TimeZone'];
SET lock_configuration = TRUE

-- name: functions
-- Named functions with class 0: only PostgreSQL reports a class.
SELECT routine_name, 0 FROM information_schema.routines WHERE routine_name = :names

-- name: functions (postgres)
-- The class of each named function: 2 immutable, 1 stable and built in, 0 any other. The names are
-- separated by commas.
SELECT p.proname, MIN(CASE WHEN p.provolatile = 'i' THEN 2 WHEN p.provolatile = 's' AND n.nspname = 'pg_catalog' THEN 1 ELSE 0 END)
FROM pg_catalog.pg_proc AS p
JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
WHERE p.proname = ANY(STRING_TO_ARRAY(:names, ','))
GROUP BY p.proname

-- name: view_tree
-- The number of a temporary view of this session and the syntax tree that PostgreSQL stores for it.
SELECT CAST(c.oid AS TEXT), CAST(r.ev_action AS TEXT)
FROM pg_catalog.pg_rewrite AS r
JOIN pg_catalog.pg_class AS c ON c.oid = r.ev_class
WHERE c.relname = :name AND c.relnamespace = PG_MY_TEMP_SCHEMA()

-- name: resolved_functions
-- Name, schema and volatility of functions and of operators' functions, whether an extension has them,
-- and whether an operator or a cast calls them; by numbers with a comma before and after each.
SELECT
  p.proname, n.nspname, CAST(p.provolatile AS TEXT),
  EXISTS (
    SELECT 1
    FROM pg_catalog.pg_depend AS d
    JOIN pg_catalog.pg_class AS c ON c.oid = d.classid
    WHERE d.objid = p.oid AND d.deptype = 'e' AND c.relname = 'pg_proc'
  ),
  EXISTS (SELECT 1 FROM pg_catalog.pg_operator AS o WHERE o.oprcode = p.oid)
    OR EXISTS (SELECT 1 FROM pg_catalog.pg_cast AS k WHERE k.castfunc = p.oid)
FROM pg_catalog.pg_proc AS p
JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
WHERE POSITION(CONCAT(',', p.oid, ',') IN :functions) > 0
  OR p.oid IN (
    SELECT o.oprcode FROM pg_catalog.pg_operator AS o
    WHERE POSITION(CONCAT(',', o.oid, ',') IN :operators) > 0
  )

-- name: resolved_tables
-- Schema and name of tables, by numbers with a comma before and after each, without the view itself.
SELECT n.nspname, c.relname
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE POSITION(CONCAT(',', c.oid, ',') IN :tables_) > 0 AND CAST(c.oid AS TEXT) <> :described

-- name: begin_model
-- Makes each statement of this PostgreSQL session read-only, except for temporary tables.
SELECT SET_CONFIG('default_transaction_read_only', 'on', FALSE)

-- name: end_model
-- Lets the statements of this PostgreSQL session write again.
SELECT SET_CONFIG('default_transaction_read_only', 'off', FALSE)

-- name: set_role
-- Runs the statements that follow as another role of PostgreSQL; in a transaction, until it ends.
SELECT SET_CONFIG('role', :role, :local)

-- name: grant_temporary
-- Lets a role read and write a temporary table of this session.
GRANT SELECT, INSERT, UPDATE, DELETE ON granted TO _

-- name: model_rows
-- A copy of a model's rows, made before a statement that the role of models may not run.
CREATE TEMPORARY TABLE model_rows AS SELECT * FROM model AS m

-- name: model_role_rights
-- For each schema that models read: the tables that a role may not read, and those it may write.
SELECT
  n.nspname,
  SUM(CASE WHEN HAS_SCHEMA_PRIVILEGE(:role, n.oid, 'USAGE')
            AND HAS_TABLE_PRIVILEGE(:role, c.oid, 'SELECT') THEN 0 ELSE 1 END),
  SUM(CASE WHEN HAS_TABLE_PRIVILEGE(:role, c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE')
           THEN 1 ELSE 0 END)
FROM pg_catalog.pg_namespace AS n
JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid
WHERE n.nspname IN (:landed, :ledger, :models) AND c.relkind IN ('r', 'v', 'm', 'p', 'f')
GROUP BY n.nspname
ORDER BY n.nspname

-- name: stored_functions
-- The functions of a DuckDB warehouse that are not built in, such as stored macros.
SELECT DISTINCT LOWER(function_name) FROM DUCKDB_FUNCTIONS() WHERE NOT internal

-- name: definitions
-- The base tables of a dataset, and what else a DuckDB file defines that a model's text may name.
SELECT 'table' AS kind, table_name AS name
FROM DUCKDB_TABLES()
WHERE schema_name = :dataset AND database_name = CURRENT_DATABASE() AND NOT internal
UNION ALL
SELECT 'function', function_name FROM DUCKDB_FUNCTIONS() WHERE NOT internal
UNION ALL
SELECT 'type', type_name FROM DUCKDB_TYPES() WHERE NOT internal

-- name: drop_described
-- Drops the view that bound a query.
DROP VIEW described

-- name: count_rows
-- The number of rows of a table.
SELECT COUNT(*) FROM counted AS c

-- name: drop_temporary
-- Drops a temporary table of this session.
DROP TABLE IF EXISTS dropped

-- name: attach_shared
-- Creates a database in memory for tables that several sessions see.
ATTACH IF NOT EXISTS ':memory:' AS tr__plan (READ_WRITE)

-- name: detach_shared
-- Drops the database in memory and its tables.
DETACH tr__plan

-- name: large_tables
-- DuckDB's tables with more rows on disk than the limit; deleted rows are counted too.
SELECT schema_name, table_name, estimated_size
FROM DUCKDB_TABLES()
WHERE estimated_size > :rows_min
  AND NOT internal AND NOT temporary AND database_name = CURRENT_DATABASE()

-- name: checkpoint
-- Writes committed rows from the write-ahead log into DuckDB's database file.
CHECKPOINT
