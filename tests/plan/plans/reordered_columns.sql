-- A SELECT with its columns in another order plans nothing.

-- include city_and_score_audience

-- before
CREATE TABLE salesforce.contact (id TEXT, city TEXT, score DOUBLE);
INSERT INTO salesforce.contact VALUES ('c1', 'Oslo', 1);

-- audience
/* ---
key: id
user_id: id
track: {changed: Changed, properties: {score: score, city: city}}
--- */
SELECT score, city, id FROM salesforce.contact

-- now

-- outbox
-- size 1 -> 1
