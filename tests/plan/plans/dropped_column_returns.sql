-- A column that was dropped and returns counts as a new one, which changes no member.

-- include city_and_score_audience

-- before
CREATE TABLE salesforce.contact (id TEXT, city TEXT, score DOUBLE);
INSERT INTO salesforce.contact VALUES ('c1', 'Oslo', 1), ('c2', 'Moss', NULL);

-- include city_audience

-- then

-- include city_and_score_audience

-- now
UPDATE salesforce.contact SET score = 5;

-- outbox
-- size 2 -> 2
-- added score
