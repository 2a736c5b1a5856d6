-- name: merchant
-- Who is looking; nothing comes back for a merchant that does not exist.
SELECT merchant_id, name, currency, language, time_zone FROM merchant
 WHERE merchant_id = %(merchant)s

-- name: first_merchant
-- The merchant a hub of one merchant means (engine: no merchant is set yet).
SELECT min(merchant_id) FROM account

-- name: orders
-- Orders, newest first, with their packages and lines; no personal data of buyers.
SELECT o.order_id, o.external_id, o.account_id, a.name AS account_name, a.marketplace, o.placed_at,
       o.first_seen_us, o.detected_by, o.currency, o.payable_minor, o.is_company, o.city, o.erased_at,
       (SELECT coalesce(jsonb_agg(jsonb_build_object(
                   'external_id', p.external_id, 'state', p.state, 'state_raw', p.state_raw,
                   'wanted_state', p.wanted_state, 'taken_state', w.state, 'carrier', p.carrier,
                   'tracking_number', p.tracking_number, 'ship_by', p.ship_by)
                   ORDER BY p.external_id), '[]')
          FROM package p
          LEFT JOIN package_wish w  -- said yes to, and not seen yet; see package.packages
            ON w.merchant_id = p.merchant_id AND w.order_id = p.order_id
           AND w.package_id = p.external_id AND w.phase = 3 AND w.state = p.wanted_state
         WHERE p.merchant_id = o.merchant_id AND p.order_id = o.order_id) AS packages,
       (SELECT coalesce(jsonb_agg(jsonb_build_object(
                   'item_key', ol.item_key, 'sku', v.sku, 'sku_given', ol.sku, 'title', ol.title,
                   'units', ol.units_ordered, 'units_backorder', ol.units_backorder)
                   ORDER BY ol.item_key), '[]')
          FROM order_line ol
          LEFT JOIN variant v
            ON v.merchant_id = ol.merchant_id AND v.variant_id = ol.variant_id
         WHERE ol.merchant_id = o.merchant_id AND ol.order_id = o.order_id) AS lines
  FROM orders o
  JOIN account a ON a.merchant_id = o.merchant_id AND a.account_id = o.account_id
 WHERE o.merchant_id = %(merchant)s
   AND (%(account)s::integer IS NULL OR o.account_id = %(account)s)
   AND (%(orders)s::bigint[] IS NULL OR o.order_id = ANY (%(orders)s::bigint[]))
   AND (%(before_at)s::timestamptz IS NULL
        OR (o.placed_at, o.order_id) < (%(before_at)s::timestamptz, %(before_id)s::bigint))
 ORDER BY o.placed_at DESC, o.order_id DESC
 LIMIT %(limit)s

-- name: recent_variants
-- Variants whose stock moved last, the latest first, that are listed anywhere.
SELECT m.variant_id
  FROM (SELECT variant_id, max(movement_id) AS newest
          FROM (SELECT variant_id, movement_id FROM stock_movement
                 WHERE merchant_id = %(merchant)s
                 ORDER BY movement_id DESC LIMIT %(movements)s) latest
         GROUP BY variant_id) m
 WHERE EXISTS (SELECT 1 FROM listing l
                WHERE l.merchant_id = %(merchant)s AND l.variant_id = m.variant_id
                  AND l.state <> 'closed')
 ORDER BY m.newest DESC
 LIMIT %(limit)s

-- name: variants_by_sku
-- Listed variants in the order of their SKU.
SELECT v.variant_id
  FROM variant v
  JOIN product p ON p.merchant_id = v.merchant_id AND p.product_id = v.product_id
 WHERE v.merchant_id = %(merchant)s AND v.sku > %(after)s
   AND (%(skus)s::text[] IS NULL OR v.sku = ANY (%(skus)s::text[]))
   AND (%(search)s::text IS NULL OR starts_with(lower(v.sku), lower(%(search)s::text))
        OR starts_with(v.barcode, %(search)s::text)
        OR position(%(folded)s::text IN p.search_text) > 0)
   AND EXISTS (SELECT 1 FROM listing l
                WHERE l.merchant_id = v.merchant_id AND l.variant_id = v.variant_id
                  AND l.state <> 'closed')
 ORDER BY v.sku
 LIMIT %(limit)s

-- name: listings
-- The matrix: these variants with their stock, and what each account wants and shows.
SELECT v.sku, coalesce(c.title, '') AS title, v.currency, v.is_bundle, v.attributes,
       s.on_hand, s.reserved, s.available, cells.cells
  FROM unnest(%(variants)s::bigint[]) WITH ORDINALITY AS x (variant_id, place)
  JOIN variant v ON v.merchant_id = %(merchant)s AND v.variant_id = x.variant_id
  JOIN merchant m ON m.merchant_id = v.merchant_id
  LEFT JOIN LATERAL (
      SELECT title FROM product_content
       WHERE merchant_id = v.merchant_id AND product_id = v.product_id
       ORDER BY language <> m.language, language LIMIT 1
  ) c ON true
  LEFT JOIN LATERAL (
      SELECT sum(on_hand)::integer AS on_hand, sum(reserved)::integer AS reserved,
             greatest(0, sum(on_hand - reserved - safety_stock))::integer AS available
        FROM stock_level
       WHERE merchant_id = v.merchant_id AND variant_id = v.variant_id
  ) s ON true
  CROSS JOIN LATERAL (
      SELECT coalesce(jsonb_agg(jsonb_build_object(
                 'account_id', l.account_id, 'listing_id', l.listing_id, 'state', l.state,
                 'quantity_desired', q.quantity, 'quantity_shown', k.quantity,
                 'list_desired_minor', p.list_minor, 'sale_desired_minor', p.sale_minor,
                 'list_shown_minor', k.list_minor, 'sale_shown_minor', k.sale_minor,
                 'known_us', nullif(k.quantity_done_us, 0),
                 'waiting_since_us', (SELECT min(d.since_us) FROM offer_dirty d
                      WHERE d.merchant_id = l.merchant_id AND d.account_id = l.account_id
                        AND d.field IN (1, 2) AND d.listing_id = l.listing_id),
                 'sent_since_us', (SELECT min(i.since_us) FROM offer_inflight i
                      WHERE i.merchant_id = l.merchant_id AND i.account_id = l.account_id
                        AND i.listing_id = l.listing_id),
                 'is_unsettled', EXISTS (SELECT 1 FROM offer_unsettled u
                      WHERE u.merchant_id = l.merchant_id AND u.account_id = l.account_id
                        AND u.listing_id = l.listing_id),
                 'is_refused', EXISTS (SELECT 1 FROM offer_refusal r
                      WHERE r.merchant_id = l.merchant_id AND r.account_id = l.account_id
                        AND r.listing_id = l.listing_id))
                 ORDER BY l.account_id), '[]') AS cells
        FROM listing l
        LEFT JOIN offer_desired_quantity q ON q.merchant_id = l.merchant_id
         AND q.account_id = l.account_id AND q.listing_id = l.listing_id
        LEFT JOIN offer_desired_price p ON p.merchant_id = l.merchant_id
         AND p.account_id = l.account_id AND p.listing_id = l.listing_id
        LEFT JOIN offer_acknowledged k ON k.merchant_id = l.merchant_id
         AND k.account_id = l.account_id AND k.listing_id = l.listing_id
       WHERE l.merchant_id = v.merchant_id AND l.variant_id = v.variant_id
         AND l.state <> 'closed'
  ) cells
 ORDER BY x.place

-- name: problems
-- What needs somebody, newest first: refused offers, rejected listings, open alerts, edits on a
-- panel that wait for an answer.
SELECT kind, problem_id, at_us, account_id, account_name, subject, field, code, words, advice,
       message, params, times
  FROM (
      SELECT 'offer' AS kind, 'offer-' || r.listing_id || '-' || r.field AS problem_id,
             r.refused_us AS at_us, r.account_id, a.name AS account_name, v.sku AS subject,
             r.field, r.code, to_jsonb(r.words) AS words, r.advice, '' AS message,
             '{}'::jsonb AS params, 1 AS times
        FROM offer_refusal r
        JOIN account a ON a.merchant_id = r.merchant_id AND a.account_id = r.account_id
        JOIN listing l ON l.merchant_id = r.merchant_id AND l.listing_id = r.listing_id
        JOIN variant v ON v.merchant_id = l.merchant_id AND v.variant_id = l.variant_id
       WHERE r.merchant_id = %(merchant)s AND l.state <> 'closed'
      UNION ALL
      SELECT 'listing', 'listing-' || l.listing_id,
             (extract(epoch FROM coalesce(l.observed_at, l.created_at)) * 1000000)::bigint,
             l.account_id, a.name, v.sku, 0, l.state, l.problems, '', '', '{}', 1
        FROM listing l
        JOIN account a ON a.merchant_id = l.merchant_id AND a.account_id = l.account_id
        JOIN variant v ON v.merchant_id = l.merchant_id AND v.variant_id = l.variant_id
       WHERE l.merchant_id = %(merchant)s AND l.state <> 'closed'
         AND (l.state IN ('rejected', 'locked') OR l.problems <> '[]')
      UNION ALL
      SELECT 'alert', 'alert-' || t.alert_id, t.raised_us, t.account_id, a.name, t.subject, 0, '',
             '""', '', t.kind, t.params, t.times
        FROM alert t
        LEFT JOIN account a ON a.merchant_id = t.merchant_id AND a.account_id = t.account_id
       WHERE t.merchant_id = %(merchant)s AND t.resolved_us IS NULL
      UNION ALL
      SELECT 'alert', 'conflict-' || c.listing_id || '-' || c.field, c.first_us, c.account_id,
             a.name, v.sku, 0, '', '""', '',
             CASE c.field WHEN 1 THEN 'alert.conflict.quantity' ELSE 'alert.conflict.price' END,
             CASE c.field
             WHEN 1 THEN jsonb_build_object('sku', v.sku, 'account', a.name,
                                            'ours', c.our_quantity, 'theirs', c.their_quantity)
             ELSE jsonb_build_object('sku', v.sku, 'account', a.name, 'currency', v.currency,
                                     'ours_minor', c.our_sale_minor,
                                     'theirs_minor', c.their_sale_minor) END, 1
        FROM offer_conflict c
        JOIN account a ON a.merchant_id = c.merchant_id AND a.account_id = c.account_id
         AND a.state <> 'closed'
        JOIN listing l ON l.merchant_id = c.merchant_id AND l.listing_id = c.listing_id
         AND l.state <> 'closed'
        JOIN variant v ON v.merchant_id = l.merchant_id AND v.variant_id = l.variant_id
       WHERE c.merchant_id = %(merchant)s AND c.state = 2
  ) p
 WHERE %(before_us)s::bigint IS NULL
    OR (p.at_us, p.problem_id) < (%(before_us)s::bigint, %(before_id)s::text)
 ORDER BY p.at_us DESC, p.problem_id DESC
 LIMIT %(limit)s

-- name: problem_counts
-- How many of each kind are open.
SELECT (SELECT count(*) FROM offer_refusal WHERE merchant_id = %(merchant)s) AS offers,
       (SELECT count(*) FROM listing WHERE merchant_id = %(merchant)s AND state <> 'closed'
           AND (state IN ('rejected', 'locked') OR problems <> '[]')) AS listings,
       (SELECT count(*) FROM alert
         WHERE merchant_id = %(merchant)s AND resolved_us IS NULL)
       + (SELECT count(*) FROM offer_conflict
           WHERE merchant_id = %(merchant)s AND state = 2) AS alerts

-- name: accounts
-- Each account with its backlog, its owner's lease and its last read-back sweep.
SELECT a.account_id, a.name, a.marketplace, a.state, a.is_live, o.owner IS NOT NULL AS is_owned,
       o.lease_until_us, d.dirty, d.oldest_us, t.tickets, u.unsettled,
       w.ended_us AS swept_us, w.checked AS swept_checked, w.equal AS swept_equal,
       w.differing AS swept_differing, y.checked AS sweeping_checked,
       y.expected AS sweeping_expected, h.conflicts,
       (SELECT count(*) FROM webhook h WHERE h.merchant_id = a.merchant_id
           AND h.account_id = a.account_id AND h.is_active) AS webhooks
  FROM account a
  LEFT JOIN ownership o ON o.merchant_id = a.merchant_id AND o.account_id = a.account_id
  CROSS JOIN LATERAL (SELECT count(*) AS dirty, min(since_us) AS oldest_us FROM offer_dirty
                       WHERE merchant_id = a.merchant_id AND account_id = a.account_id) d
  CROSS JOIN LATERAL (SELECT count(*) AS tickets FROM ticket
                       WHERE merchant_id = a.merchant_id AND account_id = a.account_id
                         AND state < 3) t
  CROSS JOIN LATERAL (SELECT count(*) AS unsettled FROM offer_unsettled
                       WHERE merchant_id = a.merchant_id AND account_id = a.account_id) u
  LEFT JOIN LATERAL (SELECT ended_us, checked, equal, checked - moving - equal AS differing
                       FROM sweep WHERE merchant_id = a.merchant_id
                        AND account_id = a.account_id AND ended_us IS NOT NULL
                      ORDER BY sweep_id DESC LIMIT 1) w ON true
  LEFT JOIN LATERAL (SELECT checked, expected FROM sweep
                      WHERE merchant_id = a.merchant_id AND account_id = a.account_id
                        AND ended_us IS NULL
                      ORDER BY sweep_id DESC LIMIT 1) y ON true
  CROSS JOIN LATERAL (SELECT count(*) AS conflicts FROM offer_conflict
                       WHERE merchant_id = a.merchant_id AND account_id = a.account_id
                         AND state = 2) h
 WHERE a.merchant_id = %(merchant)s AND a.state <> 'closed'
 ORDER BY a.account_id

-- name: lanes
-- The schedules of all accounts and how their last runs went.
SELECT account_id, name, is_paused, interval_s, next_run_us, last_run_us, last_success_us,
       last_error, last_error_us, runs, failures, net_found
  FROM lane WHERE merchant_id = %(merchant)s ORDER BY account_id, name

-- name: order_counts
-- Orders of the last minute and ten minutes by when the hub knew, among the newest only.
SELECT count(*) FILTER (WHERE first_seen_us > %(now_us)s - 60000000) AS last_minute,
       count(*) FILTER (WHERE first_seen_us > %(now_us)s - 600000000) AS last_ten_minutes,
       max(first_seen_us) AS newest_us
  FROM (SELECT first_seen_us FROM orders WHERE merchant_id = %(merchant)s
         ORDER BY order_id DESC LIMIT %(newest)s) o

-- name: feed_position
-- The epoch of the feed, and the end of what is settled in it now.
SELECT feed_epoch, (pg_snapshot_xmin(pg_current_snapshot())::text::bigint - 1)::text FROM hub

-- name: events
-- What happened after a cursor, in the one order that never changes afterwards.
SELECT xid::text, event_id, at_us, kind, account_id, facts
  FROM event
 WHERE merchant_id = %(merchant)s AND day = ANY (%(days)s::date[])
   AND (xid, event_id) > (%(xid)s::text::xid8, %(event)s::bigint)
   AND xid < pg_snapshot_xmin(pg_current_snapshot())
 ORDER BY xid, event_id
 LIMIT %(limit)s

-- name: events_missed
-- Whether something after a cursor lies before the days that are still read.
SELECT EXISTS (SELECT 1 FROM event
                WHERE merchant_id = %(merchant)s AND day = ANY (%(days)s::date[])
                  AND xid > %(xid)s::text::xid8) AS is_missed
