-- A table of an audience that is no more.
DROP TABLE IF EXISTS dropped
