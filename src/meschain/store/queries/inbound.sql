-- name: cursor
-- Up to where the account's orders are known.
SELECT covered_us, fresh_us FROM order_cursor
 WHERE merchant_id = %(merchant)s AND account_id = %(account)s

-- name: advance
-- A pull has reached its end.
UPDATE order_cursor
   SET covered_us = greatest(covered_us, %(covered_us)s), fresh_us = greatest(fresh_us, %(covered_us)s)
 WHERE merchant_id = %(merchant)s AND account_id = %(account)s

-- name: lane_ran
-- A lane's run, for its health.
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

-- name: handled_delivery
UPDATE webhook_inbox SET handled_us = %(now_us)s
 WHERE merchant_id = %(merchant)s AND account_id = %(account)s AND inbox_id = %(inbox)s

-- name: unhandled_deliveries
-- Deliveries that a killed process left behind.
SELECT inbox_id, body_sealed, key_number FROM webhook_inbox
 WHERE merchant_id = %(merchant)s AND account_id = %(account)s AND handled_us IS NULL
 ORDER BY inbox_id LIMIT 1000

-- name: forget_deliveries
-- Handled deliveries hold buyers' data and are not kept.
DELETE FROM webhook_inbox
 WHERE merchant_id = %(merchant)s AND account_id = %(account)s AND handled_us < %(before_us)s

-- name: add_attempt
-- One exchange with the marketplace, for its owner to read.
INSERT INTO attempt (merchant_id, account_id, operation, at_us, status, outcome, duration_us, words)
VALUES (%(merchant)s, %(account)s, %(operation)s, %(at_us)s, %(status)s, %(outcome)s,
        %(duration_us)s, %(words)s)

-- name: raise_alert
SELECT raise_alert(%(merchant)s, %(kind)s, %(subject)s, %(account)s, %(params)s::jsonb, %(now_us)s)

-- name: resolve_alert
UPDATE alert SET resolved_us = %(now_us)s
 WHERE merchant_id = %(merchant)s AND kind = %(kind)s AND subject = %(subject)s
   AND resolved_us IS NULL
