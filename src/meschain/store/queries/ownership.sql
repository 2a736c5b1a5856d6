-- name: claim
-- Take what is free (of the accounts asked for): those without a living lease, a bounded number.
-- A lease that ends a minute from now was taken by a clock that has been set back since.
WITH free AS (
    SELECT o.merchant_id, o.account_id FROM ownership o
      JOIN account a ON a.merchant_id = o.merchant_id AND a.account_id = o.account_id
     WHERE (o.owner IS NULL OR o.lease_until_us < %(now_us)s
            OR o.lease_until_us > %(now_us)s + 60000000) AND a.state <> 'closed'
       AND (%(only)s::integer[] IS NULL OR o.account_id = ANY (%(only)s))
     ORDER BY o.merchant_id, o.account_id
     LIMIT %(limit)s FOR UPDATE OF o SKIP LOCKED
)
UPDATE ownership o
   SET owner = %(owner)s, epoch = o.epoch + 1, lease_until_us = %(lease_until_us)s
  FROM free
 WHERE o.merchant_id = free.merchant_id AND o.account_id = free.account_id
RETURNING o.merchant_id, o.account_id, o.epoch, o.pacer

-- name: renew
-- Renew all leases of this owner whose epoch still stands, with the pacers' states.
UPDATE ownership o
   SET lease_until_us = %(lease_until_us)s, pacer = x.pacer::jsonb
  FROM unnest(%(merchants)s::integer[], %(accounts)s::integer[], %(epochs)s::bigint[],
              %(pacers)s::text[]) AS x (merchant_id, account_id, epoch, pacer)
 WHERE o.merchant_id = x.merchant_id AND o.account_id = x.account_id AND o.epoch = x.epoch
   AND o.owner = %(owner)s
RETURNING o.merchant_id, o.account_id

-- name: release
-- Give all leases back, so that another process takes over at once.
UPDATE ownership SET owner = NULL, lease_until_us = 0 WHERE owner = %(owner)s

-- name: let_go
-- Give one lease back, if it still is ours.
UPDATE ownership SET owner = NULL, lease_until_us = 0
 WHERE merchant_id = %(merchant)s AND account_id = %(account)s AND owner = %(owner)s
   AND epoch = %(epoch)s

-- name: hand_over
-- Give one lease back with the last state of its pacer: nothing was sent after it.
UPDATE ownership SET owner = NULL, lease_until_us = 0, pacer = %(pacer)s::jsonb
 WHERE merchant_id = %(merchant)s AND account_id = %(account)s AND owner = %(owner)s
   AND epoch = %(epoch)s

-- name: tell_free
-- Those who have room hear of it with the commit.
SELECT pg_notify(%(channel)s, '')

-- name: beat
-- This worker lives. One that was not heard of for longer than its leases last begins anew, and so
-- does one whose clock was set back.
INSERT INTO worker AS w (owner, accounts_max, started_us, seen_us, until_us)
VALUES (%(owner)s, %(accounts_max)s, %(now_us)s, %(now_us)s, %(until_us)s)
ON CONFLICT (owner) DO UPDATE
   SET seen_us = excluded.seen_us, until_us = excluded.until_us,
       started_us = CASE WHEN w.until_us < excluded.seen_us OR w.started_us > excluded.seen_us
                         THEN excluded.started_us ELSE w.started_us END

-- name: workers
-- Who lives, the oldest first; is_settled: and has for a while.
SELECT owner, accounts_max, seen_us - started_us >= %(settled_us)s FROM worker
 WHERE until_us >= %(now_us)s AND until_us <= %(now_us)s + 60000000
 ORDER BY started_us, owner

-- name: to_serve
-- Accounts that are to be served, and how many of them are free.
SELECT count(*)::integer,
       (count(*) FILTER (WHERE o.owner IS NULL OR o.lease_until_us < %(now_us)s
                            OR o.lease_until_us > %(now_us)s + 60000000))::integer
  FROM ownership o
  JOIN account a ON a.merchant_id = o.merchant_id AND a.account_id = o.account_id
 WHERE a.state <> 'closed'

-- name: leave
-- This worker ends.
DELETE FROM worker WHERE owner = %(owner)s

-- name: forget_workers
-- Those that were not heard of for an hour, and what a clock has left that was set back since.
DELETE FROM worker
 WHERE until_us < %(now_us)s - 3600000000 OR until_us > %(now_us)s + 3600000000
