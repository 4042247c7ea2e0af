-- The model as it was built before.
DROP VIEW IF EXISTS built
