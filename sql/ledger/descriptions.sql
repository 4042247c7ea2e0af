-- name: described_objects
-- What Salesforce's describe says of each object, as JSON.
SELECT d.object, d.described FROM described_objects AS d

-- name: forget_descriptions
-- Removes the describes of some objects.
DELETE FROM described_objects AS d WHERE EXISTS (SELECT 1 FROM changed AS c WHERE c.object = d.object)

-- name: save_description
-- Saves the describe of an object.
INSERT INTO described_objects (object, described, described_at) VALUES (:object, :described, :now)
