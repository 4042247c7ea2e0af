-- A reset that sends plans every member as entering, under a new version; members whose rows are
-- missing still exit.

-- include city_audience

-- include three_contacts

-- now (intent: resend)
UPDATE salesforce.contact SET city = 'Moss' WHERE id = 'c1';
DELETE FROM salesforce.contact WHERE id = 'c2';
INSERT INTO salesforce.contact VALUES ('c4', 'Bodø');

-- outbox
-- op      | reason  | base | key | new         | old
-- entered | initial | -2   | c1  | city=Moss   |
-- exited  | data    | 1    | c2  | city=Bergen |
-- entered | initial | -2   | c3  | city=NULL   |
-- entered | initial | -2   | c4  | city=Bodø   |
-- size 3 -> 3
