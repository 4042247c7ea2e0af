-- What the snapshot says of a person, by any of the columns that name one.
SELECT EACH_COLUMN(keys, s._), s._v, s._since, s._gone
FROM snapshot AS s
WHERE ANY_COLUMN(names, CAST(s._ AS TEXT) = :person)
