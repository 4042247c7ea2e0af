-- audience
/* ---
key: id
user_id: id
track: {changed: Changed, properties: {city: city, score: score}}
--- */
SELECT id, city, score FROM salesforce.contact
