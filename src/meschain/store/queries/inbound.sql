-- name: cursor
-- Up to where the account's orders are known.
SELECT covered_us, fresh_us FROM order_cursor
 WHERE merchant_id = %(merchant)s AND account_id = %(account)s

-- name: lane_ran
-- A lane's run, for its health; a pull that has reached its end moves the order cursor.
WITH advanced AS (
    UPDATE order_cursor
       -- Also when that is less than before: a clock that was set back, and an older value only
       -- means that more is read again.
       SET covered_us = %(covered_us)s, fresh_us = %(covered_us)s
     WHERE merchant_id = %(merchant)s AND account_id = %(account)s AND %(covered_us)s > 0
)
UPDATE lane
   SET last_run_us = %(now_us)s, runs = runs + 1, next_run_us = %(next_run_us)s,
       last_success_us = CASE WHEN %(error)s = '' THEN %(now_us)s ELSE last_success_us END,
       last_error = CASE WHEN %(error)s = '' THEN last_error ELSE %(error)s END,
       last_error_us = CASE WHEN %(error)s = '' THEN last_error_us ELSE %(now_us)s END,
       failures = failures + CASE WHEN %(error)s = '' THEN 0 ELSE 1 END,
       net_found = net_found + %(net_found)s
 WHERE merchant_id = %(merchant)s AND account_id = %(account)s AND name = %(name)s

-- name: put_delivery
-- A webhook delivery, as it came.
INSERT INTO webhook_inbox (merchant_id, account_id, received_us, body_sealed, key_number)
VALUES (%(merchant)s, %(account)s, %(received_us)s, %(body_sealed)s, %(key_number)s)
RETURNING inbox_id

-- name: add_attempts
-- Exchanges that went wrong, for their owner to read; a bounded number at once. Not of accounts that
-- were erased meanwhile.
INSERT INTO attempt (merchant_id, account_id, operation, at_us, status, outcome, duration_us)
SELECT x.*
  FROM unnest(%(merchants)s::integer[], %(accounts)s::integer[], %(operations)s::text[],
              %(at_us)s::bigint[], %(statuses)s::integer[], %(outcomes)s::text[],
              %(durations_us)s::bigint[])
           AS x (merchant_id, account_id, operation, at_us, status, outcome, duration_us)
 WHERE EXISTS (SELECT 1 FROM account a
                WHERE a.merchant_id = x.merchant_id AND a.account_id = x.account_id)

-- name: raise_alert
SELECT raise_alert(%(merchant)s, %(kind)s, %(subject)s, %(account)s, %(params)s::jsonb, %(now_us)s)

-- name: resolve_alert
UPDATE alert SET resolved_us = %(now_us)s
 WHERE merchant_id = %(merchant)s AND kind = %(kind)s AND subject = %(subject)s
   AND resolved_us IS NULL

-- name: lane_schedules
-- Schedules of these accounts' lanes.
SELECT l.account_id, l.name, l.is_paused, l.next_run_us, l.interval_s, l.batch_size
  FROM unnest(%(merchants)s::integer[], %(accounts)s::integer[]) AS x (merchant_id, account_id)
 CROSS JOIN LATERAL (
      SELECT * FROM lane
       WHERE merchant_id = x.merchant_id AND account_id = x.account_id OFFSET 0) l
 ORDER BY l.account_id, l.name
