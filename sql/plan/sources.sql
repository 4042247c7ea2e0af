-- name: newest
-- The greatest value of the column that shows how old a declared source is.
SELECT MAX(s._) FROM source AS s
