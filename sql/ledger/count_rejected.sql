-- How many transitions of an audience run were refused.
SELECT COUNT(DISTINCT seq) FROM rejections WHERE run_seq = :run AND audience = :audience
