-- How many threads a load may use.
SET threads = :threads
