-- name: claim
-- Claim dirty rows of many lanes into tickets; see functions/03_offer.sql.
SELECT * FROM claim_offers(
    %(merchants)s::integer[], %(accounts)s::integer[], %(limits)s::integer[],
    %(bulk)s::integer[], %(batches)s::integer[], %(up)s::boolean[], %(ordered)s::boolean[], %(joint)s::boolean[],
    %(first)s::smallint[], %(after)s::bigint[], %(epochs)s::bigint[], %(now_us)s, %(send_by_us)s,
    %(skew_us)s)

-- name: accept
-- Requests answered with a ticket.
SELECT accept_tickets(%(merchants)s::integer[], %(tickets)s::bigint[], %(epochs)s::bigint[],
    %(references)s::text[], %(handed_us)s::bigint[], %(released_us)s::bigint[],
    %(accepted_us)s::bigint[])

-- name: end
-- End tickets with a verdict each and exceptions by item.
SELECT * FROM end_tickets(
    %(merchants)s::integer[], %(tickets)s::bigint[], %(epochs)s::bigint[],
    %(verdicts)s::smallint[], %(codes)s::text[], %(words)s::text[], %(advice)s::text[],
    %(not_before_us)s::bigint[], %(recheck_us)s::bigint[], %(final_us)s::bigint[], %(handed_us)s::bigint[],
    %(released_us)s::bigint[], %(answered_us)s::bigint[],
    %(x_tickets)s::bigint[], %(x_listings)s::bigint[], %(x_fields)s::smallint[],
    %(x_verdicts)s::smallint[], %(x_codes)s::text[], %(x_words)s::text[], %(x_advice)s::text[],
    %(now_us)s, %(skew_us)s)

-- name: adopt
-- Take over an account's open sends under a new epoch.
SELECT * FROM adopt_account(%(merchant)s, %(account)s, %(epoch)s, %(recheck_us)s, %(final_us)s,
    %(now_us)s, %(skew_us)s)

-- name: straggling
-- Accounts with open sends of an earlier lease: claimed by a process that overslept its takeover.
SELECT x.account_id
  FROM unnest(%(merchants)s::integer[], %(accounts)s::integer[], %(epochs)s::bigint[])
           AS x (merchant_id, account_id, epoch)
 WHERE EXISTS (SELECT 1 FROM ticket t
                WHERE t.merchant_id = x.merchant_id AND t.account_id = x.account_id
                  AND t.state < 3 AND t.epoch < x.epoch)
 ORDER BY x.account_id

-- name: dirty_accounts
-- Which of these accounts have anything to claim now (one index probe each), and when the next
-- waiting row falls due.
SELECT x.merchant_id, x.account_id
  FROM unnest(%(merchants)s::integer[], %(accounts)s::integer[]) AS x (merchant_id, account_id)
 WHERE EXISTS (SELECT 1 FROM offer_dirty d
                WHERE d.merchant_id = x.merchant_id AND d.account_id = x.account_id
                  AND d.not_before_us <= %(now_us)s)

-- name: unsettled_accounts
-- Which of these accounts have a shelf that must be looked at now.
SELECT x.account_id
  FROM unnest(%(merchants)s::integer[], %(accounts)s::integer[]) AS x (merchant_id, account_id)
 WHERE EXISTS (SELECT 1 FROM offer_unsettled u
                WHERE u.merchant_id = x.merchant_id AND u.account_id = x.account_id
                  AND u.recheck_us <= %(now_us)s)

-- name: unsettled_due
-- Listings whose shelf must be looked at now, oldest first.
SELECT u.listing_id, u.field, k.push_key
  FROM offer_unsettled u
 CROSS JOIN LATERAL (
      SELECT push_key FROM listing_key
       WHERE merchant_id = %(merchant)s AND account_id = %(account)s AND listing_id = u.listing_id
      OFFSET 0) k
 WHERE u.merchant_id = %(merchant)s AND u.account_id = %(account)s AND u.recheck_us <= %(now_us)s
 ORDER BY u.recheck_us, u.listing_id, u.field
 LIMIT %(limit)s

-- name: settle_observed
-- Judge what a look at the channel showed.
SELECT settle_observed(%(merchant)s, %(account)s, %(listings)s::bigint[], %(fields)s::smallint[],
    %(quantities)s::integer[], %(lists)s::bigint[], %(sales)s::bigint[], %(observed_us)s,
    %(now_us)s)

-- name: postpone_unsettled
-- The look did not succeed; try again later.
UPDATE offer_unsettled SET recheck_us = %(recheck_us)s
 WHERE merchant_id = %(merchant)s AND account_id = %(account)s
   AND listing_id = ANY (%(listings)s) AND recheck_us <= %(now_us)s

-- name: safety_net
-- What differs and is neither dirty nor in flight nor refused nor unsettled: must be nothing.
-- What is found is made dirty, so that it heals, and counted, so that it is seen.
WITH found AS (
    SELECT k.listing_id, f.field, k.quantity AS shelf_quantity, q.quantity
      FROM offer_acknowledged k
      CROSS JOIN (SELECT %(field)s::smallint AS field) f
      -- Each row finds the others by its key: LATERAL … OFFSET 0 leaves the planner no other way, as
      -- long as it takes tables that were just filled for nearly empty.
      CROSS JOIN LATERAL (
           SELECT state FROM listing
            WHERE merchant_id = %(merchant)s AND listing_id = k.listing_id OFFSET 0) l
      LEFT JOIN LATERAL (
           SELECT quantity, revision FROM offer_desired_quantity
            WHERE f.field = 1 AND merchant_id = %(merchant)s AND account_id = %(account)s
              AND listing_id = k.listing_id OFFSET 0) q ON true
      LEFT JOIN LATERAL (
           SELECT revision FROM offer_desired_price
            WHERE f.field = 2 AND merchant_id = %(merchant)s AND account_id = %(account)s
              AND listing_id = k.listing_id OFFSET 0) p ON true
     WHERE k.merchant_id = %(merchant)s AND k.account_id = %(account)s
       AND l.state IN ('on_sale', 'off_sale')
       AND CASE f.field WHEN 1 THEN q.revision > k.quantity_revision
                        ELSE p.revision > k.price_revision END
       AND NOT EXISTS (SELECT 1 FROM offer_dirty d
                        WHERE d.merchant_id = k.merchant_id AND d.account_id = k.account_id
                          AND d.field = f.field AND d.listing_id = k.listing_id OFFSET 0)
       AND NOT EXISTS (SELECT 1 FROM offer_inflight i
                        WHERE i.merchant_id = k.merchant_id AND i.account_id = k.account_id
                          AND i.listing_id = k.listing_id AND i.field = f.field OFFSET 0)
       AND NOT EXISTS (SELECT 1 FROM offer_refusal r
                        WHERE r.merchant_id = k.merchant_id AND r.account_id = k.account_id
                          AND r.listing_id = k.listing_id AND r.field = f.field
                          AND r.revision >= coalesce(q.revision, p.revision) OFFSET 0)
       AND NOT EXISTS (SELECT 1 FROM offer_unsettled u
                        WHERE u.merchant_id = k.merchant_id AND u.account_id = k.account_id
                          AND u.listing_id = k.listing_id AND u.field = f.field OFFSET 0)
       -- Held for its owner's answer (held_offer): left, not lost; whoever ends it marks it dirty.
       AND NOT EXISTS (SELECT 1 FROM offer_conflict c
                        WHERE c.merchant_id = k.merchant_id AND c.account_id = k.account_id
                          AND c.listing_id = k.listing_id AND c.field = f.field AND f.field = 1
                          AND c.state = 2 AND q.quantity >= k.quantity OFFSET 0)
     ORDER BY k.listing_id, f.field
     LIMIT %(limit)s
)
INSERT INTO offer_dirty AS o (merchant_id, account_id, listing_id, field, urgency, rank, since_us)
SELECT %(merchant)s, %(account)s, listing_id, field,
       CASE WHEN field = 2 THEN 2 WHEN quantity < shelf_quantity THEN 0 ELSE 3 END, 0, %(now_us)s
  FROM found
 ORDER BY listing_id, field
ON CONFLICT (merchant_id, account_id, field, listing_id) DO UPDATE SET not_before_us = 0
RETURNING listing_id, field

-- name: backlog
-- Dirty rows, the oldest of them, open tickets, refusals and unsettled listings of an account.
SELECT (SELECT count(*) FROM offer_dirty
         WHERE merchant_id = %(merchant)s AND account_id = %(account)s) AS dirty,
       (SELECT min(since_us) FROM offer_dirty
         WHERE merchant_id = %(merchant)s AND account_id = %(account)s) AS oldest_us,
       (SELECT count(*) FROM ticket
         WHERE merchant_id = %(merchant)s AND account_id = %(account)s AND state < 3) AS tickets,
       (SELECT count(*) FROM offer_refusal
         WHERE merchant_id = %(merchant)s AND account_id = %(account)s) AS refused,
       (SELECT count(*) FROM offer_unsettled
         WHERE merchant_id = %(merchant)s AND account_id = %(account)s) AS unsettled

-- name: open_ticket_items
-- What was sent in the open tickets of an account, to poll them on after a takeover.
SELECT DISTINCT i.ticket_id, k.push_key, i.listing_id
  FROM offer_inflight i
  JOIN listing_key k USING (merchant_id, account_id, listing_id)
 WHERE i.merchant_id = %(merchant)s AND i.account_id = %(account)s
 ORDER BY i.ticket_id, i.listing_id

-- name: reassert
-- Tell the shelf again what it should show (where the marketplace allows a repetition).
INSERT INTO offer_dirty AS o (merchant_id, account_id, listing_id, field, urgency, rank, since_us,
                              reassert)
SELECT %(merchant)s, %(account)s, x.listing_id, x.field,
       CASE WHEN x.field = 2 THEN 2 WHEN q.quantity < k.quantity THEN 0 ELSE 3 END, 0, %(now_us)s,
       true
  FROM unnest(%(listings)s::bigint[], %(fields)s::smallint[]) AS x (listing_id, field)
 CROSS JOIN LATERAL (
      SELECT quantity FROM offer_acknowledged
       WHERE merchant_id = %(merchant)s AND account_id = %(account)s AND listing_id = x.listing_id
      OFFSET 0) k
  LEFT JOIN LATERAL (
      SELECT quantity FROM offer_desired_quantity
       WHERE x.field = 1 AND merchant_id = %(merchant)s AND account_id = %(account)s
         AND listing_id = x.listing_id OFFSET 0) q ON true
 ORDER BY x.listing_id, x.field
ON CONFLICT (merchant_id, account_id, field, listing_id) DO UPDATE
   SET reassert = true, not_before_us = 0

-- name: forget_unsettled
-- After a re-assertion: settled, unless a later look is still owed.
WITH x AS (
    SELECT * FROM unnest(%(listings)s::bigint[], %(fields)s::smallint[]) AS x (listing_id, field)
), gone AS (
    DELETE FROM offer_unsettled u USING x
     WHERE u.merchant_id = %(merchant)s AND u.account_id = %(account)s
       AND u.listing_id = x.listing_id AND u.field = x.field AND u.final_us <= %(now_us)s
)
UPDATE offer_unsettled u
   SET recheck_us = least(u.final_us, %(now_us)s + greatest(30000000, 3 * (%(now_us)s - u.since_us)))
  FROM x
 WHERE u.merchant_id = %(merchant)s AND u.account_id = %(account)s
   AND u.listing_id = x.listing_id AND u.field = x.field AND u.final_us > %(now_us)s

-- name: observed_all
-- Ours beside what a sweep saw: keys, desired and acknowledged values of these listings.
SELECT k.push_key, k.listing_id, q.quantity, p.list_minor, p.sale_minor, a.quantity, a.list_minor,
       a.sale_minor,
       EXISTS (SELECT 1 FROM offer_dirty d WHERE d.merchant_id = k.merchant_id
                  AND d.account_id = k.account_id AND d.field IN (1, 2)
                  AND d.listing_id = k.listing_id)
       OR EXISTS (SELECT 1 FROM offer_inflight i WHERE i.merchant_id = k.merchant_id
                  AND i.account_id = k.account_id AND i.listing_id = k.listing_id)
       OR EXISTS (SELECT 1 FROM offer_unsettled u WHERE u.merchant_id = k.merchant_id
                  AND u.account_id = k.account_id AND u.listing_id = k.listing_id) AS is_moving,
       (SELECT coalesce(sum(z.units), 0) FROM offer_shelf_sale z
         WHERE z.merchant_id = k.merchant_id AND z.account_id = k.account_id
           AND z.listing_id = k.listing_id) AS own_units,
       l.state
  FROM (SELECT DISTINCT unnest(%(keys)s::text[]) AS push_key) x
 CROSS JOIN LATERAL (
      SELECT * FROM listing_key
       WHERE merchant_id = %(merchant)s AND account_id = %(account)s AND push_key = x.push_key
      OFFSET 0) k
 CROSS JOIN LATERAL (
      SELECT state FROM listing
       WHERE merchant_id = %(merchant)s AND listing_id = k.listing_id OFFSET 0) l
 CROSS JOIN LATERAL (
      SELECT * FROM offer_acknowledged
       WHERE merchant_id = %(merchant)s AND account_id = %(account)s AND listing_id = k.listing_id
      OFFSET 0) a
  LEFT JOIN LATERAL (
      SELECT quantity FROM offer_desired_quantity
       WHERE merchant_id = %(merchant)s AND account_id = %(account)s AND listing_id = k.listing_id
      OFFSET 0) q ON true
  LEFT JOIN LATERAL (
      SELECT list_minor, sale_minor FROM offer_desired_price
       WHERE merchant_id = %(merchant)s AND account_id = %(account)s AND listing_id = k.listing_id
      OFFSET 0) p ON true
 ORDER BY k.listing_id

-- name: unsettle
-- A sweep saw something else than we acknowledged: look closely.
INSERT INTO offer_unsettled AS u (merchant_id, account_id, listing_id, field, recheck_us, since_us,
                                  reason)
SELECT %(merchant)s, %(account)s, x.listing_id, x.field, %(now_us)s, %(now_us)s, 2
  FROM unnest(%(listings)s::bigint[], %(fields)s::smallint[]) AS x (listing_id, field)
ON CONFLICT (merchant_id, account_id, listing_id, field) DO UPDATE
   SET recheck_us = least(u.recheck_us, excluded.recheck_us)

-- name: unanswered_tickets
-- Tickets of these leases that were claimed some time ago and have no answer on record.
SELECT t.account_id, t.ticket_id
  FROM unnest(%(merchants)s::integer[], %(accounts)s::integer[], %(epochs)s::bigint[])
           AS x (merchant_id, account_id, epoch)
  JOIN ticket t ON t.merchant_id = x.merchant_id AND t.account_id = x.account_id
   AND t.epoch = x.epoch AND t.state = 1 AND t.claimed_us < %(before_us)s AND t.surface = 'offer'
 ORDER BY t.ticket_id
 LIMIT 1000

-- name: put_sweep
-- The result of a read-back sweep.
INSERT INTO sweep (merchant_id, account_id, started_us, ended_us, checked, equal, moving, repaired,
                   drift)
VALUES (%(merchant)s, %(account)s, %(started_us)s, %(ended_us)s, %(checked)s, %(equal)s, %(moving)s,
        %(repaired)s, %(drift)s::jsonb)
