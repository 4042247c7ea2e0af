-- Forgets a temporary table of this session.
DROP TABLE IF EXISTS forgotten
