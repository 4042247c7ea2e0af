-- An array changes with its values and their order, a document with its values and not with the
-- order of its keys.

-- audience
/* ---
key: id
user_id: id
track: {changed: Changed, properties: {tags: tags, place: place}}
--- */
SELECT id, tags, place FROM salesforce.contact

-- before (warehouse: postgres)
CREATE TABLE salesforce.contact (id TEXT, tags TEXT[], place JSONB);
INSERT INTO salesforce.contact VALUES ('c1', '{a,b}', '{"city": "Oslo", "zip": 1}'), ('c2', '{a,NULL}', 'null'), ('c3', NULL, NULL), ('c4', '{a,b}', '{"city": "Oslo", "zip": 1}'), ('c5', '{}', '{"zip": 1}');

-- now
UPDATE salesforce.contact SET tags = '{b,a}' WHERE id = 'c1';
UPDATE salesforce.contact SET tags = '{a}' WHERE id = 'c2';
UPDATE salesforce.contact SET tags = '{}' WHERE id = 'c3';
UPDATE salesforce.contact SET place = '{"zip": 1, "city": "Oslo"}' WHERE id = 'c4';
UPDATE salesforce.contact SET place = '{"zip": 2}' WHERE id = 'c5';

-- outbox
-- op      | reason | base | key | new                                              | old
-- changed | data   | 1    | c1  | place={"city": "Oslo", "zip": 1} tags=["b", "a"] | place={"city": "Oslo", "zip": 1} tags=["a", "b"]
-- changed | data   | 1    | c2  | place=NULL tags=["a"]                            | place=NULL tags=["a", null]
-- changed | data   | 1    | c3  | place=NULL tags=[]                               | place=NULL tags=NULL
-- changed | data   | 1    | c5  | place={"zip": 2} tags=[]                         | place={"zip": 1} tags=[]
-- size 5 -> 5
