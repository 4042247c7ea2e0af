-- A reset without sending records the current members.

-- include city_audience

-- include three_contacts

-- now (intent: accept)
UPDATE salesforce.contact SET city = 'Moss' WHERE id = 'c1';
DELETE FROM salesforce.contact WHERE id = 'c2';
INSERT INTO salesforce.contact VALUES ('c4', 'Bodø');

-- outbox
-- op      | reason | base | key | new         | old       | note
-- changed | data   | 1    | c1  | city=Moss   | city=Oslo | recorded
-- exited  | data   | 1    | c2  | city=Bergen |           | recorded
-- entered | data   | 0    | c4  | city=Bodø   |           | recorded
-- size 3 -> 3

-- now

-- outbox
-- size 3 -> 3
