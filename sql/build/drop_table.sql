-- The model as it was built before.
DROP TABLE IF EXISTS built
