-- audience
/* ---
key: id
user_id: id
track: {changed: Changed, properties: {score: score}}
--- */
SELECT id, score FROM salesforce.contact
