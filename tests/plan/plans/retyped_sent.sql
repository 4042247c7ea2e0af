-- Values that have no equal in a column's new type are counted, and sent if the policy says so.

-- include score_audience

-- before
CREATE TABLE salesforce.contact (id TEXT, score TEXT);
INSERT INTO salesforce.contact VALUES ('c1', 'x'), ('c2', '2'), ('c3', '3');

-- now (on_new_column: send)
DROP TABLE salesforce.contact;
CREATE TABLE salesforce.contact (id TEXT, score INTEGER);
INSERT INTO salesforce.contact VALUES ('c1', 1), ('c2', 2), ('c3', 4);

-- outbox
-- op      | reason  | base | key | new     | old
-- changed | mapping | 1    | c1  | score=1 | score=NULL
-- changed | mapping | 1    | c2  | score=2 | score=NULL
-- changed | mapping | 1    | c3  | score=4 | score=NULL
-- size 3 -> 3
-- retyped score
-- unconverted 2
