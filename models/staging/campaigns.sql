/* ---
description: Live campaigns, one row each
--- */
-- Live rows only: see accounts.sql.
SELECT
    id AS campaign_id,
    name AS campaign_name,
    type AS campaign_type
FROM salesforce.campaign
WHERE is_deleted IS NOT TRUE
