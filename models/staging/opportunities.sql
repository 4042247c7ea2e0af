/* ---
description: Live opportunities, one row each
--- */
-- Live rows only: see accounts.sql. Amounts become decimals: a sum of doubles may differ in its
-- last digits from run to run, and each time it would look like a change.
SELECT
    id AS opportunity_id,
    account_id,
    stage_name,
    CAST(amount AS DECIMAL(18, 2)) AS amount,
    close_date,
    is_closed,
    is_won
FROM salesforce.opportunity
WHERE is_deleted IS NOT TRUE
