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
