-- Drops the view that bound a query.
DROP VIEW described
