-- After a restore: the marketplaces have gone on since. Run by the owner, over all merchants, on the
-- newest schema, before anybody else sees the database.

-- name: armed
-- Accounts that were trading when the backup was made.
SELECT count(*) FROM account WHERE state = 'armed'

-- name: disarm
-- The hub that the backup is of may still run, and two may not speak for one account.
UPDATE account SET state = 'read_only' WHERE state = 'armed' AND NOT %(keep_armed)s

-- name: begin_feed
-- Readers of the feed begin anew: their positions were another database's. The minute makes two
-- restores of the same backup two epochs.
UPDATE hub SET feed_epoch = greatest(feed_epoch + 1, (%(now_us)s / 60000000)::integer)

-- name: free_accounts
-- No process of this database holds an account. What the dead hub has sent up to now is unknown: its
-- quotas are taken for spent, but for the part kept for orders and sales. See PacerState.
UPDATE ownership SET owner = NULL, lease_until_us = 0, epoch = epoch + 1,
       pacer = '{"final": true, "used": {}, "lowered": {}, "blocked_s": {}, "is_unknown": true}'::jsonb
               || jsonb_build_object('at_us', %(now_us)s::bigint)

-- name: doubt_orders
-- Orders are read again from where they were known; until then no quantity rises.
UPDATE order_cursor SET fresh_us = 0

-- name: end_tickets
-- Nobody will tell what became of these offers; all shelves are told again.
UPDATE ticket SET state = 3, ended_us = %(now_us)s, outcome = 'unknown'
 WHERE state < 3 AND surface = 'offer'

-- name: forget_inflight
DELETE FROM offer_inflight

-- name: doubt_shelves
-- What stands on a shelf now is not what we last knew: so every quantity counts as one that rises,
-- and waits until the account's orders are known.
UPDATE offer_acknowledged SET quantity = NULL

-- name: tell_shelves
-- As if it rose (3), the price too, so that neither goes before the orders are known.
INSERT INTO offer_dirty AS o (merchant_id, account_id, listing_id, field, urgency, rank, since_us,
                              reassert)
SELECT k.merchant_id, k.account_id, k.listing_id, f.field, 3, 0, %(now_us)s, true
  FROM offer_acknowledged k
  JOIN listing l ON l.merchant_id = k.merchant_id AND l.listing_id = k.listing_id
 CROSS JOIN (VALUES (1::smallint), (2::smallint)) AS f (field)
 WHERE l.state IN ('on_sale', 'off_sale')
ON CONFLICT (merchant_id, account_id, field, listing_id) DO UPDATE
   SET urgency = 3, reassert = true, not_before_us = 0

-- name: doubt_wishes
-- A step of a package may have been taken since: look before it is repeated.
UPDATE package_wish SET phase = 2, is_doubtful = true, next_us = 0 WHERE phase = 1

-- name: end_sweeps
-- The place where a sweep was is the marketplace's, and long forgotten there.
DELETE FROM sweep WHERE ended_us IS NULL

-- name: write_down
INSERT INTO audit (merchant_id, at, actor, action, facts)
SELECT merchant_id, %(now)s, %(actor)s, 'restore', %(facts)s::jsonb FROM merchant ORDER BY merchant_id
