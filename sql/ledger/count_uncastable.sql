-- Fails where a value of the column cannot have the new type.
SELECT COUNT(CAST(t._ AS _TYPE)) FROM altered AS t
