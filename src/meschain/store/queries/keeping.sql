-- name: prepare_event_days
-- Partitions of the event feed for the coming days.
SELECT prepare_event_days(%(first)s, %(days)s)

-- name: forget_event_days
-- Days of the feed past their retention.
SELECT forget_event_days(%(before)s)

-- name: forget_tickets
-- Ended tickets of an account, a bounded number at once.
DELETE FROM ticket WHERE merchant_id = %(merchant)s AND ticket_id IN (
    SELECT ticket_id FROM ticket
     WHERE merchant_id = %(merchant)s AND account_id = %(account)s AND state = 3
       AND ended_us < %(before_us)s
     ORDER BY ticket_id LIMIT 5000)

-- name: forget_attempts
-- Exchanges of an account, a bounded number at once.
DELETE FROM attempt WHERE merchant_id = %(merchant)s AND attempt_id IN (
    SELECT attempt_id FROM attempt
     WHERE merchant_id = %(merchant)s AND account_id = %(account)s AND at_us < %(before_us)s
     ORDER BY attempt_id LIMIT 5000)

-- name: forget_wishes
-- Wishes for packages of an account that have long ended, a bounded number at once.
DELETE FROM package_wish WHERE merchant_id = %(merchant)s AND (order_id, package_id) IN (
    SELECT order_id, package_id FROM package_wish
     WHERE merchant_id = %(merchant)s AND account_id = %(account)s AND phase = 4
       AND wish_us < %(before_us)s
     ORDER BY order_id, package_id LIMIT 5000)

-- name: recall_lanes
-- Due further ahead than it is ever set: by a clock that has been set back since. So the next three.
UPDATE lane SET next_run_us = 0
 WHERE merchant_id = %(merchant)s AND account_id = %(account)s
   AND next_run_us > %(now_us)s + (interval_s + 60) * 1000000::bigint

-- name: recall_dirty
-- A backoff lasts 15 minutes at most.
UPDATE offer_dirty SET not_before_us = 0
 WHERE merchant_id = %(merchant)s AND account_id = %(account)s
   AND not_before_us > %(now_us)s + 3600000000

-- name: recall_looks
-- Looks are made within hours; the largest bigint waits for tickets.
UPDATE offer_unsettled SET recheck_us = %(now_us)s, final_us = least(final_us, %(now_us)s)
 WHERE merchant_id = %(merchant)s AND account_id = %(account)s
   AND recheck_us > %(now_us)s + 86400000000 AND recheck_us < 9223372036854775807

-- name: recall_wishes
UPDATE package_wish SET next_us = 0
 WHERE merchant_id = %(merchant)s AND account_id = %(account)s AND phase < 4
   AND next_us > %(now_us)s + 86400000000

-- name: refresh_statistics
-- Tell the planner of tables that have grown much; see functions/04_keeping.sql.
SELECT refresh_statistics()
