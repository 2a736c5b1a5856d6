-- Edits on a marketplace's own panel (design.md §2): never silently overwritten, never made up.

DROP TYPE IF EXISTS seen_field CASCADE;  -- with judge_shelf, which is made anew below
-- One field of one listing as a look showed it, beside ours, as judge_shelf passes it on.
CREATE TYPE seen_field AS (
    listing_id bigint, variant_id bigint, push_key text, field smallint, verdict text,
    quantity integer, list_minor bigint, sale_minor bigint,
    our_quantity integer, our_list_minor bigint, our_sale_minor bigint,
    revision bigint, acknowledged bigint, sent_us bigint, is_stale boolean, is_ours boolean
);

-- Tell what became of conflicts: an event for whoever follows, an entry in the audit for good.
CREATE OR REPLACE FUNCTION note_conflicts(
    p_merchant integer, p_account integer, p_action text, p_actor text, p_changes jsonb,
    p_now timestamptz, p_now_us bigint
) RETURNS void LANGUAGE sql AS $$
    INSERT INTO event (merchant_id, day, at_us, kind, account_id, facts)
    VALUES (p_merchant, (p_now AT TIME ZONE 'UTC')::date, p_now_us, p_action, p_account,
            jsonb_build_object('changes', p_changes));
    INSERT INTO audit (merchant_id, at, actor, action, facts)
    VALUES (p_merchant, p_now, p_actor, p_action,
            jsonb_build_object('account_id', p_account, 'changes', p_changes));
$$;

-- These conflicts with both values, as events, audit and reports say them.
CREATE OR REPLACE FUNCTION conflict_changes(
    p_merchant integer, p_account integer, p_listings bigint[], p_fields smallint[]
) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT jsonb_agg(
               CASE c.field
               WHEN 1 THEN jsonb_build_object('sku', v.sku, 'field', 'quantity',
                        'ours', c.our_quantity, 'theirs', c.their_quantity)
               ELSE jsonb_build_object('sku', v.sku, 'field', 'price', 'currency', v.currency,
                        'ours', c.our_sale_minor, 'theirs', c.their_sale_minor,
                        'our_list', c.our_list_minor, 'their_list', c.their_list_minor)
               END ORDER BY c.listing_id, c.field)
      FROM unnest(p_listings, p_fields) AS x (listing_id, field)
      JOIN offer_conflict c ON c.merchant_id = p_merchant AND c.account_id = p_account
       AND c.listing_id = x.listing_id AND c.field = x.field
      JOIN listing l ON l.merchant_id = p_merchant AND l.listing_id = c.listing_id
      JOIN variant v ON v.merchant_id = p_merchant AND v.variant_id = l.variant_id
$$;

-- The hub wins: what we want is told again, in the same transaction that ends the conflict. A claim
-- that was about to leave the field alone holds its dirty row: this one then comes after it.
CREATE OR REPLACE FUNCTION keep_ours(
    p_merchant integer, p_account integer, p_listings bigint[], p_fields smallint[], p_now_us bigint
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM offer_conflict c
     USING unnest(p_listings, p_fields) AS x (listing_id, field)
     WHERE c.merchant_id = p_merchant AND c.account_id = p_account
       AND c.listing_id = ANY (p_listings) AND c.listing_id = x.listing_id AND c.field = x.field;
    INSERT INTO offer_dirty AS o (merchant_id, account_id, listing_id, field, urgency, rank,
                                  since_us, reassert)
    SELECT p_merchant, p_account, x.listing_id, x.field,
           CASE WHEN x.field = 1 THEN CASE WHEN q.quantity < k.quantity THEN 0 ELSE 3 END
                WHEN p.sale_minor * 100 >= k.sale_minor * 120 THEN 1 ELSE 2 END,
           0, p_now_us, true
      FROM (
          SELECT * FROM unnest(p_listings, p_fields) AS x (listing_id, field)
          UNION
          -- The quantity beside a price: some refuse the very body they have had.
          SELECT x.listing_id, 1::smallint FROM unnest(p_listings, p_fields) AS x (listing_id, field)
      ) x
      JOIN offer_acknowledged k ON k.merchant_id = p_merchant AND k.account_id = p_account
       AND k.listing_id = x.listing_id
      LEFT JOIN offer_desired_quantity q ON q.merchant_id = p_merchant
       AND q.account_id = p_account AND q.listing_id = x.listing_id
      LEFT JOIN offer_desired_price p ON p.merchant_id = p_merchant
       AND p.account_id = p_account AND p.listing_id = x.listing_id
     ORDER BY x.listing_id, x.field
    ON CONFLICT (merchant_id, account_id, field, listing_id) DO UPDATE
       SET reassert = true, not_before_us = 0, urgency = least(o.urgency, excluded.urgency);
END
$$;

-- Whether a claimed field must be left alone, and then what is shown there (else NULL): a price that
-- would only be told again while the edit there is in question, and a quantity that would not fall.
-- A new price is the merchant's answer, and what falls may always go.
CREATE OR REPLACE FUNCTION held_offer(
    p_merchant integer, p_account integer, p_listing bigint, p_field smallint, p_quantity integer,
    p_revision bigint, p_reassert boolean, p_now_us bigint
) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT CASE p_field WHEN 1 THEN jsonb_build_object('quantity', k.quantity)
           ELSE jsonb_build_object('list_minor', c.their_list_minor,
                                   'sale_minor', c.their_sale_minor) END
      FROM offer_conflict c
      JOIN offer_acknowledged k USING (merchant_id, account_id, listing_id)
     WHERE c.merchant_id = p_merchant AND c.account_id = p_account AND c.listing_id = p_listing
       AND c.field = p_field
       AND CASE p_field
           WHEN 1 THEN c.state = 2 AND p_quantity >= k.quantity
           -- A first sight counts for as long as its second one may take.
           ELSE p_reassert AND p_revision <= c.revision
                AND (c.state = 2 OR c.seen_us > p_now_us - 600000000) END
$$;

-- All levels that the shown quantities of these variants follow from, in the one order of locks.
CREATE OR REPLACE FUNCTION lock_levels(p_merchant integer, p_variants bigint[])
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM stock_level s
      WHERE s.merchant_id = p_merchant
        AND (s.variant_id = ANY (p_variants)
             OR s.variant_id IN (SELECT b.component_variant_id FROM bundle_component b
                                  WHERE b.merchant_id = p_merchant
                                    AND b.bundle_variant_id = ANY (p_variants)))
      ORDER BY s.variant_id, s.location_id FOR UPDATE OF s;
END
$$;

-- Quantities that are wanted and not acknowledged, and that nothing carries: told.
CREATE OR REPLACE FUNCTION mark_quantities(
    p_merchant integer, p_account integer, p_listings bigint[], p_now_us bigint
) RETURNS void LANGUAGE sql AS $$
    INSERT INTO offer_dirty AS o (merchant_id, account_id, listing_id, field, urgency, rank,
                                  since_us)
    SELECT p_merchant, p_account, q.listing_id, 1,
           CASE WHEN q.quantity < k.quantity THEN 0 ELSE 3 END, 0, p_now_us
      FROM offer_desired_quantity q
      JOIN offer_acknowledged k USING (merchant_id, account_id, listing_id)
     WHERE q.merchant_id = p_merchant AND q.account_id = p_account
       AND q.listing_id = ANY (p_listings) AND q.revision > k.quantity_revision
     ORDER BY q.listing_id
    ON CONFLICT (merchant_id, account_id, field, listing_id) DO UPDATE SET not_before_us = 0
$$;

-- The channel wins: the listing gets a price of its own, or at most as many units as are shown
-- there. Both stand on the shelf already, so nothing is sent. Returns the accounts touched.
CREATE OR REPLACE FUNCTION keep_theirs(
    p_merchant integer, p_account integer, p_listings bigint[], p_fields smallint[], p_by text,
    p_now_us bigint
) RETURNS integer[] LANGUAGE plpgsql AS $$
DECLARE
    v_capped bigint[];
    v_priced bigint[];
    v_variants bigint[];
    v_accounts integer[] := '{}';
BEGIN
    SELECT array_agg(c.listing_id ORDER BY c.listing_id) FILTER (WHERE c.field = 1),
           array_agg(c.listing_id ORDER BY c.listing_id) FILTER (WHERE c.field = 2),
           array_agg(l.variant_id) FILTER (WHERE c.field = 1)
      INTO v_capped, v_priced, v_variants
      FROM unnest(p_listings, p_fields) AS x (listing_id, field)
      JOIN offer_conflict c ON c.merchant_id = p_merchant AND c.account_id = p_account
       AND c.listing_id = x.listing_id AND c.field = x.field
      JOIN listing l ON l.merchant_id = p_merchant AND l.listing_id = c.listing_id;
    IF v_capped IS NOT NULL THEN
        PERFORM lock_levels(p_merchant, v_variants);
    END IF;
    UPDATE listing l
       SET list_price_minor = c.their_list_minor, sale_price_minor = c.their_sale_minor,
           price_kept_us = p_now_us, price_kept_by = p_by
      FROM offer_conflict c
     WHERE c.merchant_id = p_merchant AND c.account_id = p_account AND c.field = 2
       AND c.listing_id = ANY (v_priced) AND l.merchant_id = p_merchant
       AND l.listing_id = c.listing_id;
    PERFORM 1 FROM offer_desired_price
      WHERE merchant_id = p_merchant AND account_id = p_account AND listing_id = ANY (v_priced)
      ORDER BY listing_id FOR UPDATE;
    WITH kept AS (
        UPDATE offer_desired_price d
           SET list_minor = c.their_list_minor, sale_minor = c.their_sale_minor,
               revision = d.revision + 1
          FROM offer_conflict c
         WHERE c.merchant_id = p_merchant AND c.account_id = p_account AND c.field = 2
           AND c.listing_id = ANY (v_priced) AND d.merchant_id = p_merchant
           AND d.account_id = p_account AND d.listing_id = c.listing_id
        RETURNING d.listing_id, d.list_minor, d.sale_minor, d.revision
    )
    UPDATE offer_acknowledged k
       SET list_minor = kept.list_minor, sale_minor = kept.sale_minor,
           price_revision = kept.revision
      FROM kept
     WHERE k.merchant_id = p_merchant AND k.account_id = p_account
       AND k.listing_id = kept.listing_id;
    IF v_capped IS NOT NULL THEN
        UPDATE listing l
           SET quantity_max_before = CASE WHEN l.quantity_kept_us IS NULL THEN l.quantity_max
                                          ELSE l.quantity_max_before END,
               quantity_max = c.their_quantity, quantity_kept_us = p_now_us,
               quantity_kept_by = p_by
          FROM offer_conflict c
         WHERE c.merchant_id = p_merchant AND c.account_id = p_account AND c.field = 1
           AND c.listing_id = ANY (v_capped) AND l.merchant_id = p_merchant
           AND l.listing_id = c.listing_id;
        v_accounts := refresh_desired_quantity(p_merchant, v_variants, p_now_us);
        UPDATE offer_acknowledged k SET quantity_revision = q.revision
          FROM offer_desired_quantity q
         WHERE k.merchant_id = p_merchant AND k.account_id = p_account
           AND k.listing_id = ANY (v_capped) AND q.merchant_id = p_merchant
           AND q.account_id = p_account AND q.listing_id = k.listing_id
           AND q.quantity = k.quantity;
    END IF;
    DELETE FROM offer_conflict c
     USING unnest(p_listings, p_fields) AS x (listing_id, field)
     WHERE c.merchant_id = p_merchant AND c.account_id = p_account
       AND c.listing_id = ANY (p_listings) AND c.listing_id = x.listing_id AND c.field = x.field;
    IF v_capped IS NOT NULL THEN
        PERFORM mark_quantities(p_merchant, p_account, v_capped, p_now_us);
    END IF;
    RETURN v_accounts || p_account;
END
$$;

-- What was kept of the channel's is given up: the variant's price and the policy count again.
-- Returns the accounts touched.
CREATE OR REPLACE FUNCTION drop_kept(
    p_merchant integer, p_account integer, p_listings bigint[], p_fields smallint[], p_now_us bigint
) RETURNS integer[] LANGUAGE plpgsql AS $$
DECLARE
    v_priced bigint[];
    v_capped bigint[];
    v_accounts integer[] := '{}';
BEGIN
    SELECT array_agg(DISTINCT l.variant_id) FILTER (WHERE x.field = 2),
           array_agg(DISTINCT l.variant_id) FILTER (WHERE x.field = 1)
      INTO v_priced, v_capped
      FROM unnest(p_listings, p_fields) AS x (listing_id, field)
      JOIN listing l ON l.merchant_id = p_merchant AND l.listing_id = x.listing_id;
    PERFORM lock_levels(p_merchant, coalesce(v_capped, '{}'));
    UPDATE listing l
       SET list_price_minor = NULL, sale_price_minor = NULL, price_kept_us = NULL,
           price_kept_by = NULL
      FROM unnest(p_listings, p_fields) AS x (listing_id, field)
     WHERE l.merchant_id = p_merchant AND l.account_id = p_account
       AND l.listing_id = x.listing_id AND x.field = 2;
    UPDATE listing l
       SET quantity_max = l.quantity_max_before, quantity_max_before = NULL,
           quantity_kept_us = NULL, quantity_kept_by = NULL
      FROM unnest(p_listings, p_fields) AS x (listing_id, field)
     WHERE l.merchant_id = p_merchant AND l.account_id = p_account
       AND l.listing_id = x.listing_id AND x.field = 1 AND l.quantity_kept_us IS NOT NULL;
    IF v_priced IS NOT NULL THEN
        v_accounts := v_accounts || refresh_desired_price(p_merchant, v_priced, p_now_us);
    END IF;
    IF v_capped IS NOT NULL THEN
        v_accounts := v_accounts || refresh_desired_quantity(p_merchant, v_capped, p_now_us);
    END IF;
    RETURN v_accounts;
END
$$;

-- Judge what a look or a page of the sweep showed (keys and values in parallel; an unknown value is
-- NULL). One row comes back for each field of each listing of ours, with its verdict:
--   equal     as wanted; acknowledged where it was not yet
--   moving    something of ours is on its way there, or may be: not judged
--   differs   shows what we or its own sales put there, or what cannot be read
--   suspect   shows what nobody of ours put there; to be seen once more
--   held      an open conflict: waits for its owner
--   hub, channel, ask   confirmed now, and settled by this rule
-- A false conflict is worse than a late one: it counts only when the same was seen twice, the
-- channel's read lag apart, nothing of ours having been sent in between; a quantity only beyond
-- what the channel's own orders and cancellations since our last push can explain, and when these
-- are known up to the first look. More than we have is never left standing, whatever the rule.
-- Whoever sells or sends goes first: the locks are waited for shorter than any deadlock is.
CREATE OR REPLACE FUNCTION judge_shelf(
    p_merchant integer, p_account integer, p_keys text[], p_quantities integer[], p_lists bigint[],
    p_sales bigint[], p_observed_us bigint, p_lag_us bigint, p_skew_us bigint,
    p_now timestamptz, p_now_us bigint
) RETURNS SETOF seen_field LANGUAGE plpgsql SET lock_timeout = '300ms'
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    v_seen seen_field[];
    v_known bigint[];  -- its listings: named in each statement, so that only their rows are read
    v_listings bigint[];
    v_fields smallint[];
    v_changes jsonb;
    v_rule text;
BEGIN
    SELECT array_agg(ROW(j.listing_id, j.variant_id, j.push_key, j.field,
               CASE WHEN j.is_moving THEN 'moving'
                    WHEN j.is_equal THEN 'equal'
                    WHEN NOT j.is_armed OR j.acknowledged = 0 OR NOT j.is_readable THEN 'differs'
                    WHEN j.is_open AND NOT (j.field = 1 AND j.quantity > j.our_quantity) THEN 'held'
                    WHEN j.is_ours THEN 'differs'
                    WHEN NOT (j.is_same AND p_observed_us - j.first_us >= p_lag_us
                              AND (j.field = 2 OR j.fresh_us >= j.first_us)) THEN 'suspect'
                    WHEN j.field = 1 AND j.quantity > j.our_quantity THEN 'hub'
                    WHEN j.field = 1 THEN j.quantity_rule ELSE j.price_rule END,
               j.quantity, j.list_minor, j.sale_minor, j.our_quantity, j.our_list_minor,
               j.our_sale_minor, j.revision, j.acknowledged, j.sent_us,
               j.is_equal AND (j.acknowledged < j.revision OR j.is_ours IS NOT TRUE),
               j.is_ours)::seen_field
           ORDER BY j.listing_id, j.field),
           array_agg(DISTINCT j.listing_id)
      INTO v_seen, v_known
      FROM (
          SELECT l.listing_id, l.variant_id, key.push_key, f.field, x.quantity, x.list_minor,
                 x.sale_minor, q.quantity AS our_quantity, p.list_minor AS our_list_minor,
                 p.sale_minor AS our_sale_minor, k.quantity_sent_us AS sent_us,
                 CASE f.field WHEN 1 THEN q.revision ELSE p.revision END AS revision,
                 CASE f.field WHEN 1 THEN k.quantity_revision ELSE k.price_revision END
                     AS acknowledged,
                 a.state = 'armed' AS is_armed,
                 a.price_rule, a.quantity_rule, o.fresh_us, c.first_us, c.state = 2 AS is_open,
                 CASE f.field WHEN 1 THEN x.quantity IS NOT NULL
                      ELSE x.list_minor > 0 AND x.sale_minor > 0 AND x.sale_minor <= x.list_minor
                      END AS is_readable,
                 CASE f.field WHEN 1 THEN x.quantity IS NOT DISTINCT FROM q.quantity
                      ELSE (x.list_minor, x.sale_minor)
                           IS NOT DISTINCT FROM (p.list_minor, p.sale_minor) END AS is_equal,
                 CASE f.field
                      WHEN 1 THEN x.quantity BETWEEN k.quantity - coalesce(s.sold, 0)
                                                 AND k.quantity + coalesce(s.restored, 0)
                      ELSE (x.list_minor, x.sale_minor)
                           IS NOT DISTINCT FROM (k.list_minor, k.sale_minor) END AS is_ours,
                 -- Of the same look or later, with nothing sent in between.
                 coalesce(c.state = 1 AND c.acknowledged = CASE f.field WHEN 1
                              THEN k.quantity_revision ELSE k.price_revision END
                          AND (f.field = 2 OR c.sent_us = k.quantity_sent_us)
                          AND CASE f.field WHEN 1 THEN c.their_quantity = x.quantity
                              ELSE (c.their_list_minor, c.their_sale_minor)
                                   = (x.list_minor, x.sale_minor) END, false) AS is_same,
                 (f.field = 1 AND k.quantity_done_us > p_observed_us)  -- told since the look began
                 OR EXISTS (SELECT 1 FROM offer_dirty d WHERE d.merchant_id = p_merchant
                               AND d.account_id = p_account AND d.field = f.field
                               AND d.listing_id = l.listing_id OFFSET 0)
                 OR EXISTS (SELECT 1 FROM offer_inflight i WHERE i.merchant_id = p_merchant
                               AND i.account_id = p_account AND i.listing_id = l.listing_id
                               AND i.field = f.field OFFSET 0)
                 OR EXISTS (SELECT 1 FROM offer_unsettled u WHERE u.merchant_id = p_merchant
                               AND u.account_id = p_account AND u.listing_id = l.listing_id
                               AND u.field = f.field OFFSET 0) AS is_moving
            FROM unnest(p_keys, p_quantities, p_lists, p_sales)
                     AS x (push_key, quantity, list_minor, sale_minor)
            JOIN account a ON a.merchant_id = p_merchant AND a.account_id = p_account
            -- Each table is asked by its whole key and in this order (OFFSET 0 fences it off), even
            -- while the planner believes of tables that were just filled that they are empty.
           -- The next key from there on, if it is this one: only the index of keys has an order, and
           -- by mere equality another index would seem as good.
           CROSS JOIN LATERAL (SELECT * FROM listing_key y WHERE y.merchant_id = p_merchant
                                  AND y.account_id = p_account AND y.push_key >= x.push_key
                                ORDER BY y.push_key LIMIT 1) key
           CROSS JOIN LATERAL (SELECT * FROM listing y WHERE y.merchant_id = p_merchant
                                  AND y.listing_id = key.listing_id AND key.push_key = x.push_key
                                  AND y.state IN ('on_sale', 'off_sale') OFFSET 0) l
           CROSS JOIN LATERAL (SELECT * FROM offer_acknowledged y WHERE y.merchant_id = p_merchant
                                  AND y.account_id = p_account
                                  AND y.listing_id = key.listing_id OFFSET 0) k
           CROSS JOIN (VALUES (1::smallint), (2::smallint)) AS f (field)
            LEFT JOIN order_cursor o ON o.merchant_id = p_merchant AND o.account_id = p_account
            LEFT JOIN LATERAL (SELECT * FROM offer_desired_quantity y
                                WHERE y.merchant_id = p_merchant AND y.account_id = p_account
                                  AND y.listing_id = key.listing_id OFFSET 0) q ON true
            LEFT JOIN LATERAL (SELECT * FROM offer_desired_price y
                                WHERE y.merchant_id = p_merchant AND y.account_id = p_account
                                  AND y.listing_id = key.listing_id OFFSET 0) p ON true
            LEFT JOIN LATERAL (SELECT * FROM offer_conflict y WHERE y.merchant_id = p_merchant
                                  AND y.account_id = p_account AND y.listing_id = key.listing_id
                                  AND y.field = f.field OFFSET 0) c ON true
            LEFT JOIN LATERAL (
                -- Orders of the channel's own since our last push: it may have lowered its shelf by
                -- them, and raised it again where they were given up. By its clock or by ours.
                SELECT sum(w.units_ordered)::integer AS sold,
                       sum(w.units_ordered) FILTER (WHERE w.is_given_up)::integer AS restored
                  FROM (
                      SELECT ol.units_ordered, g.is_given_up, g.is_recent,
                             r.placed_at >= t.since OR r.first_seen_us >= t.since_us AS is_new
                        FROM (SELECT k.quantity_sent_us - p_skew_us AS since_us,
                                     timestamptz 'epoch' + (k.quantity_sent_us - p_skew_us)
                                         * interval '1 microsecond' AS since) t
                       CROSS JOIN order_line ol
                        JOIN orders r ON r.merchant_id = p_merchant AND r.order_id = ol.order_id
                         AND r.account_id = p_account
                        LEFT JOIN LATERAL (
                            SELECT bool_or(b.modified_at >= t.since) AS is_recent,
                                   bool_or(b.modified_at >= t.since
                                           AND coalesce(e.effect, 'release')
                                               IN ('release', 'none')) AS is_given_up
                              FROM package b LEFT JOIN package_state e ON e.state = b.state
                             WHERE b.merchant_id = p_merchant AND b.order_id = r.order_id
                        ) g ON true
                       WHERE f.field = 1 AND x.quantity <> k.quantity
                         AND ol.merchant_id = p_merchant
                         AND (ol.variant_id = l.variant_id
                              OR (ol.variant_id IS NULL
                                  AND ol.item_key IN (key.stock_code, key.barcode)))
                  ) w
                 WHERE w.is_new OR w.is_recent
            ) s ON true
      ) j;
    IF v_seen IS NULL THEN
        RETURN;
    END IF;

    -- As wanted although it was not acknowledged: somebody set it there, or our push arrived.
    UPDATE offer_acknowledged k
       SET quantity = s.quantity, quantity_revision = s.revision,
           quantity_sent_us = p_observed_us, quantity_done_us = p_observed_us
      FROM unnest(v_seen) s
     WHERE s.verdict = 'equal' AND s.is_stale AND s.field = 1 AND k.merchant_id = p_merchant
       AND k.account_id = p_account AND k.listing_id = s.listing_id
       AND k.listing_id = ANY (v_known)
       AND k.quantity_revision = s.acknowledged AND k.quantity_sent_us = s.sent_us;
    UPDATE offer_acknowledged k
       SET list_minor = s.list_minor, sale_minor = s.sale_minor, price_revision = s.revision
      FROM unnest(v_seen) s
     WHERE s.verdict = 'equal' AND s.is_stale AND s.field = 2 AND k.merchant_id = p_merchant
       AND k.account_id = p_account AND k.listing_id = s.listing_id
       AND k.listing_id = ANY (v_known)
       AND k.price_revision = s.acknowledged;
    DELETE FROM offer_refusal r USING unnest(v_seen) s
     WHERE s.verdict = 'equal' AND r.merchant_id = p_merchant AND r.account_id = p_account
       AND r.listing_id = ANY (v_known)
       AND r.listing_id = s.listing_id AND r.field = s.field AND r.revision <= s.revision;

    -- Explained by now, or set right on the panel. A quantity that we lowered ourselves meanwhile
    -- says nothing of what its owner wants: that question stays open.
    SELECT array_agg(c.listing_id), array_agg(c.field) INTO v_listings, v_fields
      FROM unnest(v_seen) s
      JOIN offer_conflict c ON c.merchant_id = p_merchant AND c.account_id = p_account
       AND c.listing_id = ANY (v_known)
       AND c.listing_id = s.listing_id AND c.field = s.field
     WHERE c.state = 2 AND s.verdict = 'equal' AND (s.field = 2 OR c.sent_us = s.sent_us);
    IF v_listings IS NOT NULL THEN
        PERFORM note_conflicts(p_merchant, p_account, 'conflict.ended', 'hub',
                    conflict_changes(p_merchant, p_account, v_listings, v_fields), p_now, p_now_us);
    END IF;
    DELETE FROM offer_conflict c USING unnest(v_seen) s
     WHERE c.merchant_id = p_merchant AND c.account_id = p_account
       AND c.listing_id = ANY (v_known)
       AND c.listing_id = s.listing_id AND c.field = s.field
       AND (c.state = 1 AND s.verdict IN ('equal', 'differs')
            OR c.state = 2 AND s.verdict = 'equal' AND (s.field = 2 OR c.sent_us = s.sent_us));
    -- A raise that was held is not lost when its question ends so.
    IF v_listings IS NOT NULL THEN
        PERFORM mark_quantities(p_merchant, p_account, v_listings, p_now_us);
    END IF;
    UPDATE offer_conflict c
       SET look_us = p_now_us + greatest(p_lag_us, p_now_us - c.first_us)
      FROM unnest(v_seen) s
     WHERE s.verdict = 'moving' AND c.merchant_id = p_merchant AND c.account_id = p_account
       AND c.listing_id = ANY (v_known)
       AND c.listing_id = s.listing_id AND c.field = s.field AND c.state = 1;

    -- Seen, with both values. What was confirmed stands here once more, to be settled below.
    INSERT INTO offer_conflict AS c (
        merchant_id, account_id, listing_id, field, state, revision, acknowledged, sent_us,
        our_quantity, our_list_minor, our_sale_minor, their_quantity, their_list_minor,
        their_sale_minor, first_us, seen_us, look_us)
    SELECT p_merchant, p_account, s.listing_id, s.field, 1, s.revision, s.acknowledged, s.sent_us,
           CASE s.field WHEN 1 THEN s.our_quantity END,
           CASE s.field WHEN 2 THEN s.our_list_minor END,
           CASE s.field WHEN 2 THEN s.our_sale_minor END,
           CASE s.field WHEN 1 THEN s.quantity END, CASE s.field WHEN 2 THEN s.list_minor END,
           CASE s.field WHEN 2 THEN s.sale_minor END, p_observed_us, p_observed_us,
           p_now_us + p_lag_us
      FROM unnest(v_seen) s
     WHERE s.verdict IN ('suspect', 'hub', 'channel', 'ask')
        OR (s.verdict = 'held' AND s.is_ours IS NOT TRUE)  -- changed on the panel once more
     ORDER BY s.listing_id, s.field
    ON CONFLICT (merchant_id, account_id, listing_id, field) DO UPDATE
       SET state = CASE WHEN c.state = 2 AND NOT (c.field = 1 AND excluded.their_quantity
                                                               > excluded.our_quantity)
                        THEN 2 ELSE 1 END,
           -- The same look again: its time stands. Something else: it begins anew.
           first_us = CASE WHEN (c.acknowledged, c.sent_us, c.their_quantity, c.their_list_minor,
                                 c.their_sale_minor)
                                IS NOT DISTINCT FROM
                                (excluded.acknowledged, CASE c.field WHEN 1 THEN excluded.sent_us
                                                             ELSE c.sent_us END,
                                 excluded.their_quantity, excluded.their_list_minor,
                                 excluded.their_sale_minor)
                           THEN c.first_us ELSE excluded.first_us END,
           acknowledged = excluded.acknowledged,
           sent_us = CASE c.state WHEN 2 THEN c.sent_us ELSE excluded.sent_us END,
           revision = CASE c.state WHEN 2 THEN c.revision ELSE excluded.revision END,
           our_quantity = excluded.our_quantity, our_list_minor = excluded.our_list_minor,
           our_sale_minor = excluded.our_sale_minor, their_quantity = excluded.their_quantity,
           their_list_minor = excluded.their_list_minor,
           their_sale_minor = excluded.their_sale_minor, seen_us = excluded.seen_us,
           look_us = p_now_us + greatest(p_lag_us, p_now_us - c.first_us);

    -- What stands there is known now, and whether telling ours again lowers it.
    UPDATE offer_acknowledged k
       SET quantity = s.quantity, quantity_sent_us = p_observed_us, quantity_done_us = p_observed_us
      FROM unnest(v_seen) s
     WHERE s.verdict IN ('hub', 'channel', 'ask') AND s.field = 1 AND k.merchant_id = p_merchant
       AND k.account_id = p_account AND k.listing_id = s.listing_id
       AND k.listing_id = ANY (v_known)
       AND k.quantity_revision = s.acknowledged AND k.quantity_sent_us = s.sent_us;
    UPDATE offer_acknowledged k
       SET list_minor = s.list_minor, sale_minor = s.sale_minor
      FROM unnest(v_seen) s
     WHERE s.verdict IN ('hub', 'channel', 'ask') AND s.field = 2 AND k.merchant_id = p_merchant
       AND k.account_id = p_account AND k.listing_id = s.listing_id
       AND k.listing_id = ANY (v_known)
       AND k.price_revision = s.acknowledged;

    FOREACH v_rule IN ARRAY ARRAY['channel', 'ask', 'hub'] LOOP  -- dirty rows last
        SELECT array_agg(s.listing_id), array_agg(s.field) INTO v_listings, v_fields
          FROM unnest(v_seen) s WHERE s.verdict = v_rule;
        CONTINUE WHEN v_listings IS NULL;
        v_changes := conflict_changes(p_merchant, p_account, v_listings, v_fields);
        PERFORM note_conflicts(p_merchant, p_account, 'conflict.' || v_rule, 'hub', v_changes, p_now,
                               p_now_us);
        IF v_rule = 'channel' THEN
            PERFORM keep_theirs(p_merchant, p_account, v_listings, v_fields, 'rule', p_now_us);
        ELSIF v_rule = 'hub' THEN
            PERFORM keep_ours(p_merchant, p_account, v_listings, v_fields, p_now_us);
        ELSE
            UPDATE offer_conflict c SET state = 2, sent_us = p_observed_us
              FROM unnest(v_listings, v_fields) AS x (listing_id, field)
             WHERE c.merchant_id = p_merchant AND c.account_id = p_account
               AND c.listing_id = ANY (v_known)
               AND c.listing_id = x.listing_id AND c.field = x.field;
        END IF;
    END LOOP;
    RETURN QUERY SELECT * FROM unnest(v_seen);
END
$$;

-- A new price that the merchant set afterwards is new input: it has gone out, and the question is
-- answered. Listings that ended take their questions with them. Returns how many ended.
CREATE OR REPLACE FUNCTION end_answered(
    p_merchant integer, p_account integer, p_now timestamptz, p_now_us bigint
) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    v_listings bigint[];
    v_fields smallint[];
    v_changes jsonb;
BEGIN
    SELECT array_agg(c.listing_id), array_agg(c.field),
           conflict_changes(p_merchant, p_account,
                            array_agg(c.listing_id) FILTER (WHERE c.state = 2),
                            array_agg(c.field) FILTER (WHERE c.state = 2))
      INTO v_listings, v_fields, v_changes
      FROM offer_conflict c
      JOIN listing l ON l.merchant_id = p_merchant AND l.listing_id = c.listing_id
      LEFT JOIN offer_desired_price p ON p.merchant_id = p_merchant AND p.account_id = p_account
       AND p.listing_id = c.listing_id
     WHERE c.merchant_id = p_merchant AND c.account_id = p_account
       AND (l.state = 'closed' OR (c.field = 2 AND p.revision > c.revision));
    IF v_listings IS NULL THEN
        RETURN 0;
    END IF;
    IF v_changes IS NOT NULL THEN
        PERFORM note_conflicts(p_merchant, p_account, 'conflict.answered', 'hub', v_changes, p_now,
                               p_now_us);
    END IF;
    DELETE FROM offer_conflict c
     USING unnest(v_listings, v_fields) AS x (listing_id, field)
     WHERE c.merchant_id = p_merchant AND c.account_id = p_account
       AND c.listing_id = ANY (v_listings) AND c.listing_id = x.listing_id AND c.field = x.field;
    RETURN array_length(v_listings, 1);
END
$$;
