-- name: alerts
-- The problems that each receiver was alerted of.
SELECT receiver, subject, problem, alerted_at FROM alerts ORDER BY receiver, subject

-- name: save_alert
-- Saves that a receiver was alerted of a problem.
INSERT INTO alerts (receiver, subject, problem, alerted_at) VALUES (:receiver, :subject, :problem, :now)

-- name: delete_alert
-- Forgets what a receiver was alerted of.
DELETE FROM alerts WHERE receiver = :receiver AND subject = :subject

-- name: rename_alerts
-- Gives the alerts of an audience its new key.
UPDATE alerts SET subject = :new_key WHERE subject = :old_key
