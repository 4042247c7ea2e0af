-- name: described_objects
-- What Salesforce's describe says of each object, as JSON.
SELECT d.object, d.described FROM described_objects AS d

-- name: forget_description
-- Removes the describe of an object.
DELETE FROM described_objects WHERE object = :object

-- name: save_description
-- Saves the describe of an object.
INSERT INTO described_objects (object, described, described_at) VALUES (:object, :described, :now)
