-- How many scores a thread has, told to the planner instead of measured. Measured while one small run
-- was there, it would be every row of the table: a query that looks up the scores of each of 5,000
-- threads then read the whole table 5,000 times (16 s instead of 40 ms).
ALTER TABLE scores ALTER COLUMN evaluation_id SET (n_distinct = -0.1);
