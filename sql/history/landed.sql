-- Whether an object has landed with this id, and whether it is deleted there.
SELECT COALESCE(o.is_deleted, FALSE) FROM landed AS o WHERE CAST(o.id AS TEXT) = :person
