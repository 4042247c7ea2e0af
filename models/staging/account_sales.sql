/* ---
description: What each account has bought, one row an account
--- */
SELECT
    account_id,
    SUM(amount) FILTER (WHERE is_won AND close_date > current_date - INTERVAL 1 YEAR)
        AS won_last_year,
    MIN(close_date) FILTER (WHERE is_won) AS customer_since,
    MAX(close_date) FILTER (WHERE is_won) AS last_won_on,
    COUNT(*) FILTER (WHERE is_won) AS deals_won
FROM opportunities
WHERE account_id IS NOT NULL
GROUP BY account_id
