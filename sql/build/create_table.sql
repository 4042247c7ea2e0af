-- A model as a table.
CREATE TABLE built AS SELECT * FROM model AS m
