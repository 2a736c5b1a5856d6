-- name: listing
-- One SKU on one account: policy, desired, acknowledged. No row: not listed there.
SELECT v.variant_id, v.sku, v.is_bundle, v.currency, v.list_price_minor, v.sale_price_minor,
       v.vat_percent, v.updated_at AS priced_at, l.listing_id, l.state AS listing_state,
       l.state_raw, l.observed_at, key.push_key, a.account_id, a.name AS account,
       a.state AS account_state, a.location_ids,
       coalesce(l.share_bps, a.share_bps) AS share_bps, l.share_bps IS NOT NULL AS is_own_share,
       coalesce(l.buffer_units, a.buffer_units) AS buffer_units,
       l.buffer_units IS NOT NULL AS is_own_buffer,
       least(l.quantity_max, a.quantity_max) AS quantity_max,
       q.quantity AS quantity_desired, q.revision AS quantity_revision,
       p.list_minor AS list_desired_minor, p.sale_minor AS sale_desired_minor,
       p.revision AS price_revision,
       k.quantity AS quantity_shown, k.quantity_revision AS quantity_acknowledged_revision,
       k.list_minor AS list_shown_minor, k.sale_minor AS sale_shown_minor,
       k.price_revision AS price_acknowledged_revision, nullif(k.quantity_sent_us, 0) AS sent_us,
       nullif(k.quantity_done_us, 0) AS done_us, nullif(c.fresh_us, 0) AS orders_fresh_us,
       l.list_price_minor AS list_kept_minor, l.sale_price_minor AS sale_kept_minor,
       l.price_kept_us, l.price_kept_by, l.quantity_kept_us, l.quantity_kept_by
  FROM variant v
  JOIN account a ON a.merchant_id = v.merchant_id AND a.account_id = %(account)s
  JOIN listing l ON l.merchant_id = v.merchant_id AND l.account_id = a.account_id
   AND l.variant_id = v.variant_id AND l.state <> 'closed'
  JOIN order_cursor c ON c.merchant_id = a.merchant_id AND c.account_id = a.account_id
  LEFT JOIN listing_key key ON key.merchant_id = l.merchant_id AND key.account_id = l.account_id
   AND key.listing_id = l.listing_id
  LEFT JOIN offer_desired_quantity q ON q.merchant_id = l.merchant_id
   AND q.account_id = l.account_id AND q.listing_id = l.listing_id
  LEFT JOIN offer_desired_price p ON p.merchant_id = l.merchant_id
   AND p.account_id = l.account_id AND p.listing_id = l.listing_id
  LEFT JOIN offer_acknowledged k ON k.merchant_id = l.merchant_id
   AND k.account_id = l.account_id AND k.listing_id = l.listing_id
 WHERE v.merchant_id = %(merchant)s AND v.sku = %(sku)s

-- name: levels
-- The units that the published quantity is made of: of the variant itself, or of what a bundle is
-- made of; with the sum of the ledger beside each level, which must be the same.
SELECT c.sku, x.component_id AS variant_id, x.units AS units_per_bundle, h.code AS location,
       s.on_hand, s.reserved, s.safety_stock, m.on_hand_sum, m.reserved_sum, m.movements,
       coalesce(r.reserved_sum, 0) AS reservations_sum
  FROM (
      SELECT v.variant_id AS component_id, 1 AS units FROM variant v
       WHERE v.merchant_id = %(merchant)s AND v.variant_id = %(variant)s AND NOT v.is_bundle
      UNION ALL
      SELECT b.component_variant_id, b.units FROM bundle_component b
       WHERE b.merchant_id = %(merchant)s AND b.bundle_variant_id = %(variant)s
  ) x
  JOIN variant c ON c.merchant_id = %(merchant)s AND c.variant_id = x.component_id
  LEFT JOIN stock_level s ON s.merchant_id = %(merchant)s AND s.variant_id = x.component_id
   AND (%(locations)s::integer[] IS NULL OR s.location_id = ANY (%(locations)s::integer[]))
  LEFT JOIN location h ON h.merchant_id = s.merchant_id AND h.location_id = s.location_id
  LEFT JOIN LATERAL (
      SELECT coalesce(sum(on_hand_delta), 0)::integer AS on_hand_sum,
             coalesce(sum(reserved_delta), 0)::integer AS reserved_sum,
             count(*)::integer AS movements
        FROM stock_movement
       WHERE merchant_id = s.merchant_id AND variant_id = s.variant_id
         AND location_id = s.location_id
  ) m ON true
  LEFT JOIN LATERAL (
      SELECT sum(units_reserved)::integer AS reserved_sum FROM reservation
       WHERE merchant_id = s.merchant_id AND variant_id = s.variant_id
         AND location_id = s.location_id
  ) r ON true
 ORDER BY c.sku, h.code

-- name: movements
-- The latest movements of these variants, with the orders that caused them.
SELECT c.sku, h.code AS location, m.kind, m.on_hand_delta, m.reserved_delta, m.reason, m.actor,
       m.occurred_at, o.external_id AS order_number, a.name AS account
  FROM stock_movement m
  JOIN variant c ON c.merchant_id = m.merchant_id AND c.variant_id = m.variant_id
  JOIN location h ON h.merchant_id = m.merchant_id AND h.location_id = m.location_id
  LEFT JOIN orders o ON o.merchant_id = m.merchant_id AND o.order_id = m.order_id
  LEFT JOIN account a ON a.merchant_id = o.merchant_id AND a.account_id = o.account_id
 WHERE m.merchant_id = %(merchant)s AND m.variant_id = ANY (%(variants)s::bigint[])
 ORDER BY m.movement_id DESC
 LIMIT %(limit)s

-- name: reservations
-- Units promised to orders that have not left yet.
SELECT c.sku, h.code AS location, r.units_reserved AS units, o.external_id AS order_number,
       a.name AS account, o.placed_at
  FROM reservation r
  JOIN variant c ON c.merchant_id = r.merchant_id AND c.variant_id = r.variant_id
  JOIN location h ON h.merchant_id = r.merchant_id AND h.location_id = r.location_id
  JOIN orders o ON o.merchant_id = r.merchant_id AND o.order_id = r.order_id
  JOIN account a ON a.merchant_id = o.merchant_id AND a.account_id = o.account_id
 WHERE r.merchant_id = %(merchant)s AND r.variant_id = ANY (%(variants)s::bigint[])
   AND r.units_reserved > 0
 ORDER BY o.placed_at DESC, o.order_id DESC, c.sku
 LIMIT %(limit)s

-- name: under_way
-- What is dirty, in flight, refused, in question or to be looked at; one row a field.
SELECT f.field, d.since_us AS dirty_us, d.not_before_us, d.urgency, i.sent_us,
       i.revision AS sent_revision, i.quantity AS sent_quantity, i.sale_minor AS sent_sale_minor,
       i.ticket_id, i.reference, i.ticket_state, u.since_us AS unsettled_us,
       u.reason AS unsettled_reason, u.recheck_us, r.revision AS refused_revision, r.code, r.words,
       r.advice, r.refused_us, h.first_us AS conflict_us, h.their_quantity,
       h.their_sale_minor
  FROM (VALUES (1), (2)) AS f (field)
  LEFT JOIN offer_dirty d ON d.merchant_id = %(merchant)s AND d.account_id = %(account)s
   AND d.field = f.field AND d.listing_id = %(listing)s
  LEFT JOIN LATERAL (
      SELECT t.claimed_us AS sent_us, x.revision, x.quantity, x.sale_minor, x.ticket_id,
             t.reference, t.state AS ticket_state
        FROM offer_inflight x
        JOIN ticket t ON t.merchant_id = x.merchant_id AND t.ticket_id = x.ticket_id
       WHERE x.merchant_id = %(merchant)s AND x.account_id = %(account)s
         AND x.listing_id = %(listing)s AND x.field = f.field
       ORDER BY x.revision DESC, x.ticket_id DESC LIMIT 1
  ) i ON true
  LEFT JOIN offer_unsettled u ON u.merchant_id = %(merchant)s AND u.account_id = %(account)s
   AND u.listing_id = %(listing)s AND u.field = f.field
  LEFT JOIN offer_refusal r ON r.merchant_id = %(merchant)s AND r.account_id = %(account)s
   AND r.listing_id = %(listing)s AND r.field = f.field
  LEFT JOIN offer_conflict h ON h.merchant_id = %(merchant)s AND h.account_id = %(account)s
   AND h.listing_id = %(listing)s AND h.field = f.field AND h.state = 2
 ORDER BY f.field

-- name: last_ticket
-- The last request that carried this listing and came to an end.
SELECT ticket_id, reference, claimed_us, accepted_us, ended_us, outcome
  FROM ticket
 WHERE merchant_id = %(merchant)s AND account_id = %(account)s AND state = 3
   AND surface = 'offer' AND listing_ids @> ARRAY[%(listing)s::bigint]
   AND ticket_id > (SELECT coalesce(max(ticket_id), 0) FROM ticket
                     WHERE merchant_id = %(merchant)s) - 100000
 ORDER BY ticket_id DESC LIMIT 1

-- name: shelf_sales
-- The channel's own sales since the last push, by which it has lowered its shelf itself.
SELECT coalesce(sum(units), 0)::integer AS units, count(*)::integer AS orders
  FROM offer_shelf_sale
 WHERE merchant_id = %(merchant)s AND account_id = %(account)s AND listing_id = %(listing)s
