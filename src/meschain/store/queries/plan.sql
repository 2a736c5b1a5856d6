-- name: differences
-- Every field of every listing that is not simply in step: what is shown, what is wanted, and
-- what becomes of the difference now. The verdicts follow claim_offers (functions/03_offer.sql).
WITH different AS (
    SELECT l.account_id, l.listing_id, l.variant_id, f.field, key.push_key, l.state AS listing_state,
           a.state AS account_state, k.quantity AS quantity_shown, q.quantity AS quantity_desired,
           k.list_minor AS list_shown_minor, p.list_minor AS list_desired_minor,
           k.sale_minor AS sale_shown_minor, p.sale_minor AS sale_desired_minor,
           CASE f.field WHEN 1 THEN q.revision ELSE p.revision END AS revision,
           CASE f.field WHEN 1 THEN k.quantity_revision ELSE k.price_revision END AS acknowledged,
           d.since_us AS dirty_us, d.urgency, d.rank, d.not_before_us, d.reassert,
           i.since_us AS sent_us, i.revision AS sent_revision, u.reason AS unsettled_reason,
           r.revision AS refused_revision, r.words, r.advice,
           s.own_units, s.is_ambiguous,
           h.field IS NOT NULL AND (f.field = 2 OR q.quantity >= k.quantity) AS is_held,
           c.fresh_us >= %(fresh_after_us)s AS may_rise,
           o.owner IS NOT NULL AND o.lease_until_us > %(now_us)s AS is_served,
           EXISTS (SELECT 1 FROM lane n
                    WHERE n.merchant_id = l.merchant_id AND n.account_id = l.account_id
                      AND n.name IN ('stock', 'prices') AND n.is_paused) AS is_paused
      FROM listing l
      JOIN account a ON a.merchant_id = l.merchant_id AND a.account_id = l.account_id
      JOIN ownership o ON o.merchant_id = l.merchant_id AND o.account_id = l.account_id
      JOIN order_cursor c ON c.merchant_id = l.merchant_id AND c.account_id = l.account_id
      JOIN listing_key key ON key.merchant_id = l.merchant_id AND key.account_id = l.account_id
       AND key.listing_id = l.listing_id
      JOIN offer_acknowledged k ON k.merchant_id = l.merchant_id AND k.account_id = l.account_id
       AND k.listing_id = l.listing_id
      CROSS JOIN (VALUES (1::smallint), (2::smallint)) AS f (field)
      LEFT JOIN offer_desired_quantity q ON f.field = 1 AND q.merchant_id = l.merchant_id
       AND q.account_id = l.account_id AND q.listing_id = l.listing_id
      LEFT JOIN offer_desired_price p ON f.field = 2 AND p.merchant_id = l.merchant_id
       AND p.account_id = l.account_id AND p.listing_id = l.listing_id
      LEFT JOIN offer_dirty d ON d.merchant_id = l.merchant_id AND d.account_id = l.account_id
       AND d.field = f.field AND d.listing_id = l.listing_id
      LEFT JOIN LATERAL (
          SELECT min(since_us) AS since_us, max(revision) AS revision FROM offer_inflight
           WHERE merchant_id = l.merchant_id AND account_id = l.account_id
             AND listing_id = l.listing_id AND field = f.field
      ) i ON true
      LEFT JOIN offer_unsettled u ON u.merchant_id = l.merchant_id AND u.account_id = l.account_id
       AND u.listing_id = l.listing_id AND u.field = f.field
      LEFT JOIN offer_refusal r ON r.merchant_id = l.merchant_id AND r.account_id = l.account_id
       AND r.listing_id = l.listing_id AND r.field = f.field
      LEFT JOIN offer_conflict h ON h.merchant_id = l.merchant_id AND h.account_id = l.account_id
       AND h.listing_id = l.listing_id AND h.field = f.field AND h.state = 2
       AND (p.revision > h.revision) IS NOT TRUE
      LEFT JOIN LATERAL (
          SELECT sum(z.units) FILTER (WHERE z.placed_us > k.quantity_done_us + %(skew_us)s)::integer
                     AS own_units,
                 bool_or(z.placed_us BETWEEN k.quantity_sent_us - %(skew_us)s
                                         AND k.quantity_done_us + %(skew_us)s) AS is_ambiguous
            FROM offer_shelf_sale z
           WHERE f.field = 1 AND z.merchant_id = l.merchant_id AND z.account_id = l.account_id
             AND z.listing_id = l.listing_id
      ) s ON true
     WHERE l.merchant_id = %(merchant)s AND l.state <> 'closed' AND a.state <> 'closed'
       AND (%(account)s::integer IS NULL OR l.account_id = %(account)s)
       AND (d.field IS NOT NULL OR i.revision IS NOT NULL OR u.field IS NOT NULL
            OR h.field IS NOT NULL
            OR coalesce(q.revision > k.quantity_revision, p.revision > k.price_revision))
), judged AS (
    SELECT *,
           CASE WHEN field = 1 THEN
                CASE WHEN quantity_shown IS NULL THEN 'first'
                     WHEN quantity_desired < quantity_shown - coalesce(own_units, 0)
                          THEN 'quantity_down'
                     WHEN quantity_desired > quantity_shown - coalesce(own_units, 0)
                          THEN 'quantity_up'
                     ELSE 'same' END
                ELSE
                CASE WHEN sale_shown_minor IS NULL THEN 'first'
                     WHEN sale_desired_minor < sale_shown_minor THEN 'price_down'
                     WHEN sale_desired_minor > sale_shown_minor THEN 'price_up'
                     WHEN list_desired_minor IS DISTINCT FROM list_shown_minor THEN 'list_price'
                     ELSE 'same' END
           END AS change,
           CASE WHEN revision IS NULL THEN 'no_price'
                WHEN sent_revision >= revision THEN 'in_flight'
                WHEN refused_revision >= revision AND dirty_us IS NULL THEN 'refused'
                WHEN unsettled_reason IS NOT NULL AND dirty_us IS NULL THEN 'looking'
                WHEN listing_state NOT IN ('on_sale', 'off_sale') THEN 'not_on_sale'
                WHEN account_state <> 'armed' THEN account_state
                WHEN is_paused THEN 'paused'
                WHEN is_held THEN 'held'
                WHEN dirty_us IS NULL THEN 'unnoticed'
                WHEN field = 1 AND NOT reassert AND sent_revision IS NULL AND own_units > 0
                     AND NOT is_ambiguous AND quantity_shown - own_units = quantity_desired
                     THEN 'expected'
                WHEN NOT is_served THEN 'nobody'
                WHEN field = 1 AND NOT may_rise AND (quantity_shown IS NULL
                     OR quantity_desired > quantity_shown
                     OR (reassert AND quantity_desired = quantity_shown)) THEN 'rise_held_back'
                WHEN not_before_us > %(now_us)s THEN 'waiting'
                ELSE 'now' END AS verdict
      FROM different
)
SELECT (SELECT coalesce(jsonb_agg(t), '[]') FROM (
            SELECT account_id, change, verdict, count(*) AS offers
              FROM judged GROUP BY account_id, change, verdict
             ORDER BY account_id, change, verdict
        ) t) AS totals,
       -- In the order in which they would be sent; what has nothing to say is only counted.
       (SELECT coalesce(jsonb_agg(r), '[]') FROM (
            SELECT j.account_id, j.listing_id, v.sku, v.currency, j.push_key, j.field, j.change,
                   j.verdict, j.quantity_shown, j.quantity_desired, j.own_units,
                   j.list_shown_minor, j.list_desired_minor, j.sale_shown_minor,
                   j.sale_desired_minor, coalesce(j.dirty_us, j.sent_us) AS since_us,
                   coalesce(j.words, '') AS words, coalesce(j.advice, '') AS advice,
                   j.listing_state
              FROM judged j
              JOIN variant v ON v.merchant_id = %(merchant)s AND v.variant_id = j.variant_id
             WHERE j.change <> 'same' OR j.verdict IN ('refused', 'unnoticed')
             ORDER BY j.account_id, j.urgency NULLS LAST, j.rank, j.listing_id, j.field
             LIMIT %(limit)s
        ) r) AS rows

-- name: ticket_times
-- What the last answered requests of each account took, in microseconds: claimed → accepted by
-- the marketplace, and what the pacer held back of it.
SELECT a.account_id, t.accepted_us - t.claimed_us AS answered_us,
       greatest(0, t.released_us - t.handed_us) AS paced_us
  FROM account a
 CROSS JOIN LATERAL (
      SELECT claimed_us, handed_us, released_us, accepted_us FROM ticket
       WHERE merchant_id = a.merchant_id AND account_id = a.account_id
         AND ticket_id > (SELECT coalesce(max(ticket_id), 0) FROM ticket
                           WHERE merchant_id = a.merchant_id) - %(newest)s
         AND accepted_us IS NOT NULL AND surface = 'offer'
       ORDER BY ticket_id DESC LIMIT %(limit)s
 ) t
 WHERE a.merchant_id = %(merchant)s AND a.state <> 'closed'
 ORDER BY a.account_id

-- name: wake
-- Tell the process that serves these accounts to look now (after the commit).
SELECT pg_notify(%(channel)s, %(payload)s)

-- name: progress
-- Of each account: what is still to send or under way, and when orders were last read to the end.
SELECT a.account_id, a.name,
       (SELECT count(*) FROM offer_dirty d WHERE d.merchant_id = a.merchant_id
           AND d.account_id = a.account_id) AS dirty,
       (SELECT count(*) FROM ticket t WHERE t.merchant_id = a.merchant_id
           AND t.account_id = a.account_id AND t.state < 3) AS tickets,
       c.fresh_us, l.last_run_us, l.last_error, a.state,
       o.owner IS NOT NULL AND o.lease_until_us > %(now_us)s AS is_served
  FROM account a
  JOIN order_cursor c ON c.merchant_id = a.merchant_id AND c.account_id = a.account_id
  JOIN ownership o ON o.merchant_id = a.merchant_id AND o.account_id = a.account_id
  LEFT JOIN lane l ON l.merchant_id = a.merchant_id AND l.account_id = a.account_id
                  AND l.name = 'orders'
 WHERE a.merchant_id = %(merchant)s AND a.state <> 'closed'
   AND (%(account)s::integer IS NULL OR a.account_id = %(account)s)
 ORDER BY a.account_id

-- name: make_due
-- Somebody wants the lanes to run now: the serving process does so when it hears of it, or at its
-- next look at the schedules.
UPDATE lane SET next_run_us = 0
 WHERE merchant_id = %(merchant)s AND account_id = ANY (%(accounts)s::integer[])

-- name: pause_lanes
-- Nothing is sent while these lanes rest; orders are read all the same.
UPDATE lane SET is_paused = %(is_paused)s
 WHERE merchant_id = %(merchant)s AND name IN ('stock', 'prices')
   AND (%(account)s::integer IS NULL OR account_id = %(account)s)
   AND is_paused <> %(is_paused)s
RETURNING account_id
