-- A boolean has the values true, false and NULL, and differs from the text of one.

-- audience
/* ---
key: id
user_id: id
track: {changed: Changed, properties: {vip: vip}}
--- */
SELECT id, vip FROM salesforce.contact

-- before
CREATE TABLE salesforce.contact (id TEXT, vip BOOLEAN);
INSERT INTO salesforce.contact VALUES ('c1', TRUE), ('c2', FALSE), ('c3', NULL), ('c4', TRUE);

-- now
UPDATE salesforce.contact SET vip = NULL WHERE id = 'c1';
UPDATE salesforce.contact SET vip = TRUE WHERE id = 'c2';
UPDATE salesforce.contact SET vip = FALSE WHERE id = 'c3';

-- outbox
-- op      | reason | base | key | new       | old
-- changed | data   | 1    | c1  | vip=NULL  | vip=True
-- changed | data   | 1    | c2  | vip=True  | vip=False
-- changed | data   | 1    | c3  | vip=False | vip=NULL
-- size 4 -> 4
