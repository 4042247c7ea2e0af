-- After an edit that gives a column another type, values are compared in the new type, so that the
-- type alone changes no member.

-- include score_audience

-- before
CREATE TABLE salesforce.contact (id TEXT, score INTEGER);
INSERT INTO salesforce.contact VALUES ('c1', 1), ('c2', 2);

-- audience
/* ---
key: id
user_id: id
track: {changed: Changed, properties: {score: score}}
--- */
SELECT id, CAST(score AS TEXT) AS score FROM salesforce.contact

-- now
UPDATE salesforce.contact SET score = 3 WHERE id = 'c2';

-- outbox
-- op      | reason | base | key | new     | old
-- changed | data   | 1    | c2  | score=3 | score=2
-- size 2 -> 2
-- retyped score
