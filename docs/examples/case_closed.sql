/* ---
events: case_closed
description: A case of a contact was closed
key: [case_id, closed_at]
event: Case Closed
timestamp: closed_at
user_id: contact_id
properties: {case_id: case_id, priority: priority, reason: case_reason}
--- */
SELECT
    id AS case_id,
    contact_id,
    closed_date AS closed_at,
    priority,
    reason AS case_reason
FROM salesforce.case
WHERE contact_id IS NOT NULL
