-- On request, an edited mapping is sent to all members; members whose data changed are sent once,
-- with the reason data.

-- include city_audience

-- before
CREATE TABLE salesforce.contact (id TEXT, city TEXT);
INSERT INTO salesforce.contact VALUES ('c1', 'Oslo'), ('c2', 'Bergen'), ('c3', NULL);
INSERT INTO salesforce.contact VALUES ('c4', 'Bodø');

-- audience
/* ---
key: id
user_id: id
track: {changed: Changed, properties: {town: city}}
--- */
SELECT id, city FROM salesforce.contact

-- now (on_mapping_change: send)
UPDATE salesforce.contact SET city = 'Moss' WHERE id = 'c3';
DELETE FROM salesforce.contact WHERE id = 'c4';

-- outbox
-- op      | reason  | base | key | new         | old
-- changed | mapping | 1    | c1  | city=Oslo   |
-- changed | mapping | 1    | c2  | city=Bergen |
-- changed | data    | 1    | c3  | city=Moss   |
-- exited  | data    | 1    | c4  | city=Bodø   |
-- size 4 -> 3
