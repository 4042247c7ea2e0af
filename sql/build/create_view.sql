-- A model as a view, for people and tools that look into the warehouse.
CREATE VIEW built AS SELECT * FROM model AS m
