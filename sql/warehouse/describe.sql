-- A view of a query, which makes the engine bind it without running it.
CREATE TEMPORARY VIEW described AS SELECT * FROM query AS q
