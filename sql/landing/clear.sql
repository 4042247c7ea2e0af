-- Empties a table beside the landed one.
DELETE FROM side WHERE TRUE
