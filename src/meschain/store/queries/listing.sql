-- name: ours
-- Our variants with their open listing on an account, for linking.
SELECT v.variant_id, v.sku, v.barcode, l.listing_id, l.state, k.push_key
  FROM variant v
  LEFT JOIN listing l ON l.merchant_id = v.merchant_id AND l.account_id = %(account)s
   AND l.variant_id = v.variant_id AND l.state <> 'closed'
  LEFT JOIN listing_key k ON k.merchant_id = l.merchant_id AND k.account_id = l.account_id
   AND k.listing_id = l.listing_id
 WHERE v.merchant_id = %(merchant)s
 ORDER BY v.sku COLLATE "C"

-- name: close
-- Listings whose key is no longer theirs; their keys stay, for orders that still name them.
WITH closed AS (
    UPDATE listing SET state = 'closed'
     WHERE merchant_id = %(merchant)s AND account_id = %(account)s
       AND listing_id = ANY (%(listings)s::bigint[])
    RETURNING listing_id
)
DELETE FROM offer_dirty d USING closed
 WHERE d.merchant_id = %(merchant)s AND d.account_id = %(account)s AND d.field IN (1, 2)
   AND d.listing_id = closed.listing_id

-- name: free_keys
-- Keys that closed listings still hold and that are now another's.
DELETE FROM listing_key k USING listing l
 WHERE k.merchant_id = %(merchant)s AND k.account_id = %(account)s
   AND k.push_key = ANY (%(keys)s::text[])
   AND l.merchant_id = k.merchant_id AND l.listing_id = k.listing_id AND l.state = 'closed'

-- name: put
-- Create listings, or take up those that are open for the same variants. Without keys of their
-- own problems and content stay as they are.
INSERT INTO listing AS l (merchant_id, account_id, variant_id, state, problems, content_hash,
                          created_at)
SELECT %(merchant)s, %(account)s, x.variant_id, x.state, coalesce(x.problems, '[]'),
       decode(x.content_hash, 'hex'), %(now)s
  FROM json_to_recordset(%(rows)s::json)
       AS x (variant_id bigint, state text, problems jsonb, content_hash text)
 ORDER BY x.variant_id
ON CONFLICT (merchant_id, account_id, variant_id) WHERE state <> 'closed' DO UPDATE
   SET state = excluded.state, problems = excluded.problems,
       content_hash = coalesce(excluded.content_hash, l.content_hash)
RETURNING variant_id, listing_id

-- name: put_keys
-- What the channel knows listings by.
INSERT INTO listing_key AS k (merchant_id, account_id, listing_id, push_key, barcode, stock_code,
                              remote_id, group_id)
SELECT %(merchant)s, %(account)s, x.listing_id, x.push_key, x.barcode, x.stock_code, x.remote_id,
       x.group_id
  FROM json_to_recordset(%(rows)s::json)
       AS x (listing_id bigint, push_key text, barcode text, stock_code text, remote_id text,
             group_id text)
 ORDER BY x.listing_id
ON CONFLICT (merchant_id, account_id, listing_id) DO UPDATE
   SET push_key = excluded.push_key,
       barcode = coalesce(nullif(excluded.barcode, ''), k.barcode),
       stock_code = coalesce(nullif(excluded.stock_code, ''), k.stock_code),
       remote_id = coalesce(nullif(excluded.remote_id, ''), k.remote_id),
       group_id = coalesce(nullif(excluded.group_id, ''), k.group_id)
 WHERE (k.push_key, k.barcode, k.stock_code, k.remote_id, k.group_id) IS DISTINCT FROM
       (excluded.push_key, excluded.barcode, excluded.stock_code, excluded.remote_id,
        excluded.group_id)

-- name: lock_states
-- States of listings, locked until they are judged anew.
SELECT listing_id, state FROM listing
 WHERE merchant_id = %(merchant)s AND account_id = %(account)s
   AND listing_id = ANY (%(listings)s::bigint[])
 ORDER BY listing_id FOR UPDATE

-- name: observe
-- What a look at the channel showed of listings.
UPDATE listing l
   SET state = x.state, state_raw = x.state_raw, problems = x.problems, observed_at = %(now)s
  FROM json_to_recordset(%(rows)s::json)
       AS x (listing_id bigint, state text, state_raw text, problems jsonb)
 WHERE l.merchant_id = %(merchant)s AND l.account_id = %(account)s
   AND l.listing_id = x.listing_id

-- name: put_observed
-- What the channel holds, until a lane has acknowledged something: with revision 0, so that it is
-- never taken for a push of ours, and with the time of the look, so that the channel's own sales
-- after it count. It is what a merchant compares before arming the account.
INSERT INTO offer_acknowledged AS k (merchant_id, account_id, listing_id, list_minor, sale_minor,
                                     quantity, quantity_sent_us, quantity_done_us)
SELECT %(merchant)s, %(account)s, x.listing_id, x.list_minor, x.sale_minor, x.quantity,
       %(observed_us)s, %(observed_us)s
  FROM json_to_recordset(%(rows)s::json)
       AS x (listing_id bigint, quantity integer, list_minor bigint, sale_minor bigint)
 ORDER BY x.listing_id
ON CONFLICT (merchant_id, account_id, listing_id) DO UPDATE
   SET list_minor = CASE k.price_revision WHEN 0 THEN excluded.list_minor ELSE k.list_minor END,
       sale_minor = CASE k.price_revision WHEN 0 THEN excluded.sale_minor ELSE k.sale_minor END,
       quantity = CASE k.quantity_revision WHEN 0 THEN excluded.quantity ELSE k.quantity END,
       quantity_sent_us = CASE k.quantity_revision WHEN 0 THEN excluded.quantity_sent_us
                                                   ELSE k.quantity_sent_us END,
       quantity_done_us = CASE k.quantity_revision WHEN 0 THEN excluded.quantity_done_us
                                                   ELSE k.quantity_done_us END
 WHERE k.price_revision = 0 OR k.quantity_revision = 0

-- name: open_offers
-- Desired rows and dirty marks; see functions/03_offer.sql. Returns the accounts touched.
SELECT open_offers(%(merchant)s, %(listings)s::bigint[], %(now_us)s)

-- name: rank_offers
-- Freshly opened offers in the order of their risk: a shelf that shows too many units, or too low
-- a price, is corrected first. Each row looks its values up by key, whatever the planner believes
-- of tables that have just been filled.
UPDATE offer_dirty d
   SET urgency = CASE d.field WHEN 2 THEN 1 ELSE 0 END
 WHERE d.merchant_id = %(merchant)s AND d.account_id = %(account)s AND d.field IN (1, 2)
   AND d.listing_id = ANY (%(listings)s::bigint[])
   AND (SELECT CASE d.field
               WHEN 1 THEN (SELECT q.quantity FROM offer_desired_quantity q
                             WHERE q.merchant_id = d.merchant_id AND q.account_id = d.account_id
                               AND q.listing_id = d.listing_id) < k.quantity
               ELSE (SELECT p.sale_minor FROM offer_desired_price p
                      WHERE p.merchant_id = d.merchant_id AND p.account_id = d.account_id
                        AND p.listing_id = d.listing_id) * 100 >= k.sale_minor * 120 END
          FROM offer_acknowledged k
         WHERE k.merchant_id = d.merchant_id AND k.account_id = d.account_id
           AND k.listing_id = d.listing_id)

-- name: publishable
-- Variants to publish, a page of them in the order of their ids: without a listing, with a draft,
-- or refused. ``exists``: the channel was seen to have the listing.
SELECT v.variant_id, v.sku, coalesce(v.barcode, '') AS barcode, p.model_code, p.brand,
       p.category_path, p.attributes || v.attributes AS attributes,
       coalesce((SELECT jsonb_object_agg(c.language, jsonb_build_array(c.title, c.description_html))
                   FROM product_content c
                  WHERE c.merchant_id = v.merchant_id AND c.product_id = v.product_id), '{}')
           AS contents,
       -- The variant's own before the product's, files before addresses.
       coalesce((SELECT jsonb_agg(jsonb_build_array(
                     i.source_url, encode(i.content_hash, 'hex'), i.media_type, i.width_px,
                     i.height_px, i.content_bytes, i.problem, i.file_name)
                     ORDER BY i.variant_id IS NULL, i.source_url NOT LIKE 'local:%%', i.position,
                              i.media_id)
                   FROM media i
                  WHERE i.merchant_id = v.merchant_id AND i.product_id = v.product_id
                    AND (i.variant_id = v.variant_id OR i.variant_id IS NULL)), '[]') AS images,
       v.vat_percent, v.desi, v.length_mm, v.width_mm, v.height_mm, v.currency,
       v.list_price_minor, v.sale_price_minor, v.handling_days, coalesce(v.origin_country, '')
           AS origin_country,
       coalesce(l.state, '') AS state, coalesce(encode(l.content_hash, 'hex'), '') AS content_hash,
       l.observed_at IS NOT NULL AS is_there, coalesce(k.remote_id, '') AS remote_id
  FROM variant v
  JOIN product p ON p.merchant_id = v.merchant_id AND p.product_id = v.product_id
  LEFT JOIN listing l ON l.merchant_id = v.merchant_id AND l.account_id = %(account)s
   AND l.variant_id = v.variant_id AND l.state <> 'closed'
  LEFT JOIN listing_key k ON k.merchant_id = l.merchant_id AND k.account_id = l.account_id
   AND k.listing_id = l.listing_id
 WHERE v.merchant_id = %(merchant)s AND v.variant_id > %(after)s
   AND (l.listing_id IS NULL OR l.state IN ('draft', 'rejected'))
   AND (%(skus)s::text[] IS NULL OR v.sku = ANY (%(skus)s::text[]))
 ORDER BY v.variant_id
 LIMIT %(limit)s

-- name: taken_keys
-- Keys that open listings of other variants hold.
SELECT k.push_key, v.sku
  FROM json_to_recordset(%(rows)s::json) AS x (push_key text, variant_id bigint)
  JOIN listing_key k ON k.merchant_id = %(merchant)s AND k.account_id = %(account)s
   AND k.push_key = x.push_key
  JOIN listing l ON l.merchant_id = k.merchant_id AND l.listing_id = k.listing_id
  JOIN variant v ON v.merchant_id = l.merchant_id AND v.variant_id = l.variant_id
 WHERE l.variant_id <> x.variant_id AND l.state <> 'closed'

-- name: next_ticket
-- The number of a request to be.
SELECT nextval('ticket_id_seq')

-- name: open_ticket
-- Intent before effect. State 1 until answered; send_by_us: then, unanswered, somebody must look.
INSERT INTO ticket (merchant_id, ticket_id, account_id, surface, epoch, state, listing_ids,
                    send_by_us, claimed_us)
VALUES (%(merchant)s, %(ticket)s, %(account)s, 'content', %(epoch)s, 1, %(listings)s::bigint[],
        %(send_by_us)s, %(now_us)s)

-- name: accept_ticket
-- The marketplace works on it.
UPDATE ticket SET state = 2, reference = %(reference)s, accepted_us = %(now_us)s
 WHERE merchant_id = %(merchant)s AND ticket_id = %(ticket)s AND state = 1

-- name: look_for_ticket
-- Nobody can say what became of these listings: look for them, not before the given time.
UPDATE ticket SET state = 1, listing_ids = %(listings)s::bigint[], send_by_us = %(look_us)s,
                  outcome = 'unknown'
 WHERE merchant_id = %(merchant)s AND ticket_id = %(ticket)s AND state < 3

-- name: end_ticket
-- All that it will ever say is known.
UPDATE ticket SET state = 3, ended_us = %(now_us)s, outcome = %(outcome)s
 WHERE merchant_id = %(merchant)s AND ticket_id = %(ticket)s AND state < 3

-- name: content_tickets
-- Open publications of an account, the oldest first.
SELECT ticket_id, state, reference, listing_ids, send_by_us, coalesce(accepted_us, claimed_us)
  FROM ticket
 WHERE merchant_id = %(merchant)s AND account_id = %(account)s AND surface = 'content'
   AND state < 3
 ORDER BY ticket_id LIMIT %(limit)s

-- name: push_keys
-- The keys of listings that are still waiting for an answer.
SELECT k.push_key, k.listing_id
  FROM (SELECT DISTINCT unnest(%(listings)s::bigint[]) AS listing_id) x
 CROSS JOIN LATERAL (
      SELECT listing_id, push_key FROM listing_key
       WHERE merchant_id = %(merchant)s AND account_id = %(account)s AND listing_id = x.listing_id
      OFFSET 0) k
 CROSS JOIN LATERAL (
      SELECT state FROM listing
       WHERE merchant_id = %(merchant)s AND listing_id = x.listing_id OFFSET 0) l
 WHERE l.state = 'sent'
 ORDER BY k.listing_id

-- name: orphans
-- Sent, and no open request speaks for them: left by a process that was cut off.
WITH awaited AS MATERIALIZED (
    SELECT unnest(t.listing_ids) AS listing_id FROM ticket t
     WHERE t.merchant_id = %(merchant)s AND t.account_id = %(account)s AND t.state < 3
       AND t.surface = 'content'
)
SELECT k.push_key, l.listing_id
  FROM listing l
  JOIN listing_key k ON k.merchant_id = l.merchant_id AND k.account_id = l.account_id
   AND k.listing_id = l.listing_id
 WHERE l.merchant_id = %(merchant)s AND l.account_id = %(account)s AND l.state = 'sent'
   AND l.listing_id NOT IN (SELECT listing_id FROM awaited)
 ORDER BY l.listing_id LIMIT %(limit)s

-- name: pending
-- Taken by the marketplace and waiting for its approval, those not looked at for longest first.
SELECT k.push_key, l.listing_id
  FROM listing l
 CROSS JOIN LATERAL (
      SELECT push_key FROM listing_key
       WHERE merchant_id = %(merchant)s AND account_id = %(account)s AND listing_id = l.listing_id
      OFFSET 0) k
 WHERE l.merchant_id = %(merchant)s AND l.account_id = %(account)s AND l.state = 'pending'
 ORDER BY l.observed_at NULLS FIRST, l.listing_id LIMIT %(limit)s

-- name: count_open
-- Listings that wait for the marketplace: for an answer, or for its approval. A request whose
-- listings have gone on by themselves is still to be ended.
SELECT greatest(
    (SELECT count(*) FROM listing
      WHERE merchant_id = %(merchant)s AND account_id = %(account)s
        AND state IN ('sent', 'pending')),
    (SELECT count(*) FROM ticket
      WHERE merchant_id = %(merchant)s AND account_id = %(account)s AND surface = 'content'
        AND state < 3))

-- name: count_listed
-- Listings that a sweep of the account would meet.
SELECT count(*) FROM listing
 WHERE merchant_id = %(merchant)s AND account_id = %(account)s
   AND state NOT IN ('closed', 'draft')

-- name: answer
-- What the marketplace's answer makes of listings that were sent. ``forget``: what was sent did not
-- count, so that the same content may be sent again.
UPDATE listing l
   SET state = x.state, problems = x.problems,
       content_hash = CASE WHEN x.forget THEN NULL ELSE l.content_hash END
  FROM json_to_recordset(%(rows)s::json)
       AS x (listing_id bigint, state text, problems jsonb, forget boolean)
 WHERE l.merchant_id = %(merchant)s AND l.account_id = %(account)s
   AND l.listing_id = x.listing_id AND l.state = 'sent'

-- name: looked
-- Looked for in vain; so that the next look takes others first.
UPDATE listing SET observed_at = %(now)s
 WHERE merchant_id = %(merchant)s AND account_id = %(account)s
   AND listing_id = ANY (%(listings)s::bigint[])

-- name: add_event
-- One event for one chunk of listings.
INSERT INTO event (merchant_id, day, at_us, kind, account_id, facts)
VALUES (%(merchant)s, (%(now)s::timestamptz AT TIME ZONE 'UTC')::date, %(now_us)s, %(kind)s,
        %(account)s, %(facts)s::jsonb)
