-- Kept and marked before; rows that are deleted are removed from now on.
DELETE FROM landed WHERE is_deleted
