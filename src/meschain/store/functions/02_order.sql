-- Order intake: one call, one transaction, everything a sale changes.

-- Raise an alert, or count it again while it is open.
CREATE OR REPLACE FUNCTION raise_alert(
    p_merchant integer, p_kind text, p_subject text, p_account integer, p_params jsonb,
    p_now_us bigint
) RETURNS void LANGUAGE sql AS $$
    INSERT INTO alert AS a (merchant_id, kind, subject, account_id, params, raised_us)
    VALUES (p_merchant, p_kind, p_subject, p_account, p_params, p_now_us)
    ON CONFLICT (merchant_id, kind, subject) WHERE resolved_us IS NULL
    DO UPDATE SET times = a.times + 1, params = excluded.params;
    INSERT INTO event (merchant_id, day, at_us, kind, account_id, facts)
    VALUES (p_merchant, to_timestamp(p_now_us / 1000000)::date, p_now_us, 'alert.raised', p_account,
            jsonb_build_object('kind', p_kind, 'subject', p_subject));
$$;

-- The variant that a channel's line means: by the account's own listing, else by our SKU, else by
-- a barcode that exactly one variant has. NULL: unknown, kept and linkable later.
CREATE OR REPLACE FUNCTION resolve_variant(
    p_merchant integer, p_account integer, p_sku text, p_barcode text
) RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT coalesce(
        (SELECT l.variant_id
           FROM (SELECT listing_id FROM listing_key
                  WHERE merchant_id = p_merchant AND account_id = p_account
                    AND stock_code = p_sku AND p_sku <> '' OFFSET 0) k
           JOIN listing l ON l.merchant_id = p_merchant AND l.listing_id = k.listing_id
          ORDER BY l.state = 'closed', k.listing_id DESC LIMIT 1),
        (SELECT l.variant_id
           FROM (SELECT listing_id FROM listing_key
                  WHERE merchant_id = p_merchant AND account_id = p_account
                    AND barcode = p_barcode AND p_barcode <> '' OFFSET 0) k
           JOIN listing l ON l.merchant_id = p_merchant AND l.listing_id = k.listing_id
          ORDER BY l.state = 'closed', k.listing_id DESC LIMIT 1),
        (SELECT variant_id FROM variant
          WHERE merchant_id = p_merchant AND sku = p_sku AND p_sku <> ''),
        (SELECT min(variant_id) FROM variant
          WHERE merchant_id = p_merchant AND barcode = p_barcode AND p_barcode <> ''
         HAVING count(*) = 1))
$$;

-- What each package of an order means for its units. A package whose part was seen is over, whether
-- or not its own end has been seen yet: observations come in any order. A part names its origin;
-- where a marketplace names none, one part keeps a line of the package that it was split from.
CREATE OR REPLACE FUNCTION package_effects(p_merchant integer, p_order bigint)
RETURNS TABLE (package_id text, effect text) LANGUAGE sql STABLE AS $$
    SELECT p.external_id,
           CASE WHEN coalesce(s.effect, 'reserve') = 'reserve' AND (
                    EXISTS (SELECT 1 FROM package part
                             WHERE part.merchant_id = p.merchant_id AND part.order_id = p.order_id
                               AND p.external_id = ANY (part.origin_ids))
                    OR EXISTS (SELECT 1 FROM package part
                                 JOIN package_line theirs
                                   ON theirs.merchant_id = part.merchant_id
                                  AND theirs.order_id = part.order_id
                                  AND theirs.package_id = part.external_id
                                 JOIN package_line ours
                                   ON ours.merchant_id = p.merchant_id
                                  AND ours.order_id = p.order_id
                                  AND ours.package_id = p.external_id
                                  AND ours.line_id = theirs.line_id
                                WHERE part.merchant_id = p.merchant_id
                                  AND part.order_id = p.order_id
                                  AND part.external_id <> p.external_id
                                  AND part.origin_ids = '{}' AND part.modified_at > p.modified_at))
                THEN 'none' ELSE coalesce(s.effect, 'reserve') END
      FROM package p LEFT JOIN package_state s ON s.state = p.state
     WHERE p.merchant_id = p_merchant AND p.order_id = p_order
$$;

-- Book what an order's lines want of each variant (arrays run in parallel; NULL: none is reserved, or
-- sold): reservations, ledger and levels, all under the levels' locks, then the desired quantities.
-- Returns the accounts touched, and whether more is promised somewhere than there is.
CREATE OR REPLACE FUNCTION book_order(
    p_merchant integer, p_order bigint, p_item_keys text[], p_variants bigint[],
    p_reserved integer[], p_sold integer[], p_locations integer[], p_actor text,
    p_now timestamptz, p_now_us bigint,
    OUT o_accounts integer[], OUT o_is_short boolean
) LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    v_was_short boolean;
BEGIN
    v_was_short := hold_levels(p_merchant, p_variants);

    WITH placed AS (
        SELECT w.item_key, w.variant_id, coalesce(w.reserved, 0) AS reserved,
               coalesce(w.sold, 0) AS sold,
               coalesce(r.units_reserved, 0) AS reserved_before,
               coalesce(r.units_sold, 0) AS sold_before,
               coalesce(
                   r.location_id,
                   (SELECT sl.location_id FROM stock_level sl
                     WHERE sl.merchant_id = p_merchant AND sl.variant_id = w.variant_id
                       AND (p_locations IS NULL OR sl.location_id = ANY (p_locations))
                     ORDER BY sl.on_hand - sl.reserved - sl.safety_stock DESC, sl.location_id
                     LIMIT 1),
                   (SELECT home.location_id FROM location home
                     WHERE home.merchant_id = p_merchant AND home.is_default)) AS location_id
          FROM unnest(p_item_keys, p_variants, p_reserved, p_sold)
                   AS w (item_key, variant_id, reserved, sold)
          LEFT JOIN reservation r
            ON r.merchant_id = p_merchant AND r.order_id = p_order
           AND r.item_key = w.item_key AND r.variant_id = w.variant_id
    ), change AS (
        SELECT *, greatest(0, sold - sold_before) AS newly_sold,
               least(reserved_before, greatest(0, sold - sold_before)) AS sold_from_reserved
          FROM placed
    ), delta AS (
        SELECT *, reserved - (reserved_before - sold_from_reserved) AS newly_reserved FROM change
    ), kept AS (
        INSERT INTO reservation AS r (merchant_id, order_id, item_key, variant_id, location_id,
                                      units_reserved, units_sold)
        SELECT p_merchant, p_order, item_key, variant_id, location_id, reserved,
               greatest(sold, sold_before)
          FROM delta WHERE newly_sold <> 0 OR newly_reserved <> 0
        ON CONFLICT (merchant_id, order_id, item_key, variant_id, location_id) DO UPDATE
           SET units_reserved = excluded.units_reserved, units_sold = excluded.units_sold
    ), booked AS (
        INSERT INTO stock_movement (merchant_id, variant_id, location_id, kind, on_hand_delta,
                                    reserved_delta, order_id, reason, actor, occurred_at)
        SELECT p_merchant, m.variant_id, m.location_id, m.kind, m.on_hand_delta, m.reserved_delta,
               p_order, m.item_key, p_actor, p_now
          FROM (
              SELECT item_key, variant_id, location_id, 'sale' AS kind, -newly_sold AS on_hand_delta,
                     -sold_from_reserved AS reserved_delta
                FROM delta WHERE newly_sold > 0
              UNION ALL
              SELECT item_key, variant_id, location_id,
                     CASE WHEN newly_reserved > 0 THEN 'allocation' ELSE 'release' END, 0,
                     newly_reserved
                FROM delta WHERE newly_reserved <> 0
          ) m
         ORDER BY m.variant_id, m.kind
    ), level AS (
        -- Velocity: units a day, exponentially decayed with a time constant of 7 days. It only ranks.
        UPDATE stock_level sl
           SET on_hand = sl.on_hand - d.sold, reserved = sl.reserved + d.reserved,
               velocity_milli = least(2000000000,
                   sl.velocity_milli * exp(-greatest(0, p_now_us - sl.velocity_us) / 6.048e11)
                   + d.demanded * 1000 / 7)::integer,
               velocity_us = p_now_us
          FROM (SELECT variant_id, location_id, sum(newly_sold)::integer AS sold,
                       sum(newly_reserved - sold_from_reserved)::integer AS reserved,
                       sum(greatest(0, newly_reserved))::integer AS demanded
                  FROM delta GROUP BY variant_id, location_id) d
         WHERE sl.merchant_id = p_merchant AND sl.variant_id = d.variant_id
           AND sl.location_id = d.location_id AND (d.sold <> 0 OR d.reserved <> 0)
        RETURNING sl.reserved > sl.on_hand AS is_short
    )
    SELECT v_was_short OR coalesce(bool_or(is_short), false) INTO o_is_short FROM level;

    o_accounts := refresh_desired_quantity(p_merchant, p_variants, p_now_us);
END
$$;

-- Sold beyond what is there: said truthfully, on the line (and as an alert, by take_order).
CREATE OR REPLACE FUNCTION tell_backorder(
    p_merchant integer, p_order bigint, p_locations integer[]
) RETURNS void LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
    UPDATE order_line ol
       SET units_backorder = s.units
      FROM (SELECT r.item_key, max(least(r.units_reserved, greatest(0, (
                       SELECT sum(sl.reserved - sl.on_hand) FROM stock_level sl
                        WHERE sl.merchant_id = p_merchant AND sl.variant_id = r.variant_id
                          AND (p_locations IS NULL OR sl.location_id = ANY (p_locations)
                               OR sl.location_id = r.location_id))))) AS units
              FROM reservation r
             WHERE r.merchant_id = p_merchant AND r.order_id = p_order
             GROUP BY r.item_key) s
     WHERE ol.merchant_id = p_merchant AND ol.order_id = p_order AND ol.item_key = s.item_key
       AND ol.units_backorder <> s.units;
END
$$;

-- Make reservations, ledger and levels agree with the states of the order's packages, then the
-- desired quantities with the levels. Returns the accounts touched.
CREATE OR REPLACE FUNCTION settle_order(
    p_merchant integer, p_order bigint, p_actor text, p_now timestamptz, p_now_us bigint
) RETURNS integer[] LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    v_variants bigint[];
    v_locations integer[];
    v_item_keys text[];
    v_reserved integer[];
    v_sold integer[];
    v_accounts integer[];
    v_is_short boolean;
BEGIN
    SELECT a.location_ids INTO v_locations
      FROM orders o JOIN account a ON a.merchant_id = o.merchant_id AND a.account_id = o.account_id
     WHERE o.merchant_id = p_merchant AND o.order_id = p_order;
    SELECT array_agg(DISTINCT x.component_id ORDER BY x.component_id) INTO v_variants FROM (
        SELECT coalesce(b.component_variant_id, ol.variant_id) AS component_id
          FROM order_line ol
          LEFT JOIN bundle_component b
            ON b.merchant_id = ol.merchant_id AND b.bundle_variant_id = ol.variant_id
         WHERE ol.merchant_id = p_merchant AND ol.order_id = p_order AND ol.variant_id IS NOT NULL
        UNION
        SELECT r.variant_id FROM reservation r
         WHERE r.merchant_id = p_merchant AND r.order_id = p_order
    ) x;
    IF v_variants IS NULL THEN
        RETURN '{}';
    END IF;

    -- A variant that was never counted where this account is fed from sells from the default
    -- location.
    INSERT INTO stock_level (merchant_id, variant_id, location_id)
    SELECT p_merchant, v, h.location_id FROM unnest(v_variants) v
      JOIN location h ON h.merchant_id = p_merchant AND h.is_default
     WHERE NOT EXISTS (SELECT 1 FROM stock_level sl
                        WHERE sl.merchant_id = p_merchant AND sl.variant_id = v
                          AND (v_locations IS NULL OR sl.location_id = ANY (v_locations))
                       OFFSET 0)
     ORDER BY v
    ON CONFLICT DO NOTHING;

    -- Locks: levels by (variant, location) ascending; desired rows follow in refresh_desired_….
    PERFORM hold_levels(p_merchant, v_variants);

    WITH by_effect AS (
        SELECT pl.item_key,
               sum(pl.units) FILTER (WHERE e.effect = 'reserve') AS reserving,
               sum(pl.units) FILTER (WHERE e.effect = 'consume') AS consumed,
               sum(pl.units) FILTER (WHERE e.effect <> 'none') AS living,
               bool_or(e.effect = 'none') AS is_broken_up
          FROM package_effects(p_merchant, p_order) e
          JOIN package_line pl ON pl.merchant_id = p_merchant AND pl.order_id = p_order
                              AND pl.package_id = e.package_id
         GROUP BY pl.item_key
    ), wanted AS (
        SELECT ol.item_key, coalesce(b.component_variant_id, ol.variant_id) AS variant_id,
               coalesce(b.units, 1) *
                   -- Units of a broken-up package whose successors are not seen yet stay promised.
                   (coalesce(e.reserving, 0) + CASE WHEN e.is_broken_up
                        THEN greatest(0, ol.units_ordered - coalesce(e.living, 0)) ELSE 0 END)
                   AS reserved,
               coalesce(b.units, 1) * coalesce(e.consumed, 0) AS sold
          FROM order_line ol
          LEFT JOIN by_effect e ON e.item_key = ol.item_key
          LEFT JOIN bundle_component b
            ON b.merchant_id = ol.merchant_id AND b.bundle_variant_id = ol.variant_id
         WHERE ol.merchant_id = p_merchant AND ol.order_id = p_order AND ol.variant_id IS NOT NULL
        UNION ALL
        -- What is no longer part of the bundle is no longer promised.
        SELECT r.item_key, r.variant_id, 0, r.units_sold
          FROM reservation r
         WHERE r.merchant_id = p_merchant AND r.order_id = p_order AND r.units_reserved > 0
           AND NOT EXISTS (
               SELECT 1 FROM order_line ol
                 LEFT JOIN bundle_component b
                   ON b.merchant_id = ol.merchant_id AND b.bundle_variant_id = ol.variant_id
                WHERE ol.merchant_id = p_merchant AND ol.order_id = p_order
                  AND ol.item_key = r.item_key
                  AND coalesce(b.component_variant_id, ol.variant_id) = r.variant_id)
    )
    SELECT array_agg(item_key), array_agg(variant_id), array_agg(reserved::integer),
           array_agg(sold::integer)
      INTO v_item_keys, v_variants, v_reserved, v_sold
      FROM wanted;
    SELECT o_accounts, o_is_short INTO v_accounts, v_is_short
      FROM book_order(p_merchant, p_order, v_item_keys, v_variants, v_reserved, v_sold, v_locations,
                      p_actor, p_now, p_now_us);
    IF v_is_short OR EXISTS (SELECT 1 FROM order_line ol
                              WHERE ol.merchant_id = p_merchant AND ol.order_id = p_order
                                AND ol.units_backorder > 0)
    THEN
        PERFORM tell_backorder(p_merchant, p_order, v_locations);
    END IF;
    RETURN v_accounts;
END
$$;

DROP FUNCTION IF EXISTS take_order(integer, integer, jsonb, bytea, bytea, integer, timestamptz, bigint);
-- Take in what was observed of one order. p_order is the document that app.commands.take_order
-- builds; personal parts arrive sealed. Repeated, late and reordered observations change nothing
-- that a newer one has said. Returns what happened: 'new', 'changed', 'same'. Unclear: a package
-- that may be new goods or a part of known ones; whoever can should read the order whole.
CREATE OR REPLACE FUNCTION take_order(
    p_merchant integer, p_account integer, p_order jsonb, p_person bytea, p_raw bytea,
    p_key_number integer, p_now timestamptz, p_now_us bigint,
    OUT o_order_id bigint, OUT o_outcome text, OUT o_accounts integer[], OUT o_backorder integer,
    OUT o_is_unclear boolean
) LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    v_new boolean;
    v_is_erased boolean;
    v_packages jsonb := p_order -> 'packages';
    v_package jsonb;
    v_state text;
    v_state_before text;
    v_modified_before timestamptz;
    v_known boolean;
    v_changed boolean := false;
    v_kept boolean;
    v_effect text;
    v_payable numeric;
    v_sum numeric;
    v_locations integer[];
    v_lowers_own_shelf boolean;
    v_is_plain boolean;
    v_is_short boolean;
    v_item_keys text[];
    v_living integer[];
    v_broken_up integer[];
    v_variants bigint[];
    v_grown bigint[];
    v_units integer[];
    v_unknown integer;
    v_own_accounts integer[];
    v_is_whole boolean := coalesce((p_order ->> 'is_whole')::boolean, false);
BEGIN
    o_is_unclear := false;
    o_accounts := '{}';
    o_backorder := 0;
    -- The sum is right at once for an order of one package, as nearly all are; the others are summed
    -- up below.
    SELECT a.location_ids, a.lowers_own_shelf, l.payable,
           coalesce((SELECT s.effect FROM package_state s
                      WHERE s.state = v_packages #>> '{0,state}'), 'reserve')
      INTO v_locations, v_lowers_own_shelf, v_payable, v_effect
      FROM account a
     CROSS JOIN (SELECT coalesce(sum(round((line ->> 'payable')::numeric, 6)), 0) AS payable
                   FROM jsonb_array_elements(v_packages #> '{0,lines}') line) l
     WHERE a.merchant_id = p_merchant AND a.account_id = p_account;
    IF v_effect IN ('release', 'none') THEN
        v_payable := 0;
    END IF;
    INSERT INTO orders AS o (merchant_id, account_id, external_id, placed_at, currency,
                             payment_method, micro_export, is_company, city, country_code,
                             person_sealed, key_number, unknown_fields, raw_sealed, first_seen_us,
                             detected_by, payable, payable_minor)
    VALUES (p_merchant, p_account, p_order ->> 'external_id', (p_order ->> 'placed_at')::timestamptz,
            p_order ->> 'currency', p_order ->> 'payment_method',
            (p_order ->> 'micro_export')::boolean, (p_order ->> 'is_company')::boolean,
            p_order ->> 'city', p_order ->> 'country_code', p_person, p_key_number,
            p_order -> 'unknown_fields', p_raw, p_now_us, p_order ->> 'detected_by', v_payable,
            round(v_payable * (p_order ->> 'minor_factor')::numeric)::bigint)
    ON CONFLICT (merchant_id, account_id, external_id) DO UPDATE
       SET first_seen_us = o.first_seen_us  -- takes the row lock; serializes intake per order
    RETURNING order_id, xmax = 0, erased_at IS NOT NULL INTO o_order_id, v_new, v_is_erased;
    IF v_is_erased THEN
        v_packages := without_buyer(v_packages);
    END IF;

    -- Plain: a new order of one package that is no part of another. Nothing that is stored has a say
    -- in what it wants. Nearly all are so, and skip what asks for it.
    v_is_plain := v_new AND jsonb_array_length(v_packages) = 1 AND v_effect <> 'none'
                  AND coalesce(v_packages #> '{0,origin_ids}' = '[]', false);

    FOR i IN 0 .. jsonb_array_length(v_packages) - 1 LOOP
        v_package := v_packages -> i;
        v_known := false;
        v_state_before := NULL;
        IF NOT v_is_plain THEN
            SELECT true, p.state, p.modified_at INTO v_known, v_state_before, v_modified_before
              FROM package p
             WHERE p.merchant_id = p_merchant AND p.order_id = o_order_id
               AND p.external_id = v_package ->> 'external_id';
            v_known := coalesce(v_known, false);
        END IF;
        CONTINUE WHEN v_known AND (v_package ->> 'modified_at')::timestamptz < v_modified_before;
        v_state := v_package ->> 'state';
        IF v_state IS NULL THEN
            PERFORM raise_alert(p_merchant, 'alert.order.unknown_state',
                concat_ws(' ', p_order ->> 'external_id', v_package ->> 'external_id'), p_account, jsonb_build_object('order', p_order ->> 'external_id',
                                              'state', v_package ->> 'state_raw'), p_now_us);
            v_state := v_state_before;  -- nothing is guessed: it keeps standing where it stood
        ELSIF v_known AND v_state_before IS NOT NULL AND v_state <> v_state_before
              AND NOT EXISTS (SELECT 1 FROM package_transition t
                               WHERE t.state_before = v_state_before AND t.state_after = v_state)
        THEN
            PERFORM raise_alert(p_merchant, 'alert.order.illegal_transition',
                concat_ws(' ', p_order ->> 'external_id', v_package ->> 'external_id'), p_account,
                jsonb_build_object('order', p_order ->> 'external_id', 'before', v_state_before,
                                   'after', v_state), p_now_us);
            CONTINUE;
        END IF;

        WITH kept AS (
            INSERT INTO package AS p (merchant_id, order_id, external_id, state, state_raw, modified_at,
                                      carrier, cargo_code, tracking_number, tracking_url, desi,
                                      cargo_payer, origin_ids, stated_total, ship_by)
            VALUES (p_merchant, o_order_id, v_package ->> 'external_id', v_state,
                    v_package ->> 'state_raw', (v_package ->> 'modified_at')::timestamptz,
                    v_package ->> 'carrier', v_package ->> 'cargo_code',
                    v_package ->> 'tracking_number', v_package ->> 'tracking_url',
                    (v_package ->> 'desi')::numeric, v_package ->> 'cargo_payer',
                    ARRAY(SELECT jsonb_array_elements_text(v_package -> 'origin_ids')),
                    (v_package ->> 'stated_total')::numeric, (v_package ->> 'ship_by')::timestamptz)
            ON CONFLICT (merchant_id, order_id, external_id) DO UPDATE
               SET state = excluded.state, state_raw = excluded.state_raw,
                   modified_at = excluded.modified_at, carrier = excluded.carrier,
                   cargo_code = excluded.cargo_code, tracking_number = excluded.tracking_number,
                   tracking_url = excluded.tracking_url, desi = excluded.desi,
                   cargo_payer = excluded.cargo_payer, stated_total = excluded.stated_total,
                   ship_by = excluded.ship_by,
                   wanted_state = CASE WHEN p.wanted_state = excluded.state THEN NULL
                                       WHEN EXISTS (SELECT 1 FROM package_transition t
                                                     WHERE t.state_before = excluded.state
                                                       AND t.state_after = p.wanted_state)
                                       THEN p.wanted_state END
             WHERE (p.state, p.state_raw, p.modified_at, p.cargo_code, p.tracking_number)
                   IS DISTINCT FROM (excluded.state, excluded.state_raw, excluded.modified_at,
                                     excluded.cargo_code, excluded.tracking_number)
            RETURNING 1
        ), lines AS (
            INSERT INTO package_line AS l (merchant_id, order_id, package_id, line_id, item_key, units,
                                           unit_gross, unit_seller_discount, unit_marketplace_discount,
                                           payable, vat_percent, commission_percent, state_raw, extra)
            SELECT p_merchant, o_order_id, v_package ->> 'external_id', x.line_id, x.item_key, x.units,
                   x.unit_gross, x.unit_seller_discount, x.unit_marketplace_discount, x.payable,
                   x.vat_percent, x.commission_percent, x.state_raw, x.extra
              FROM kept CROSS JOIN jsonb_to_recordset(v_package -> 'lines') AS x (
                   line_id text, item_key text, units integer, unit_gross numeric,
                   unit_seller_discount numeric, unit_marketplace_discount numeric, payable numeric,
                   vat_percent numeric, commission_percent numeric, state_raw text, extra jsonb)
            ON CONFLICT (merchant_id, order_id, package_id, line_id) DO UPDATE
               SET units = excluded.units, state_raw = excluded.state_raw, extra = excluded.extra,
                   payable = excluded.payable
             WHERE (l.units, l.state_raw, l.extra, l.payable) IS DISTINCT FROM
                   (excluded.units, excluded.state_raw, excluded.extra, excluded.payable)
            RETURNING l.payable
        )
        SELECT EXISTS (SELECT 1 FROM kept), (SELECT sum(payable) FROM lines) INTO v_kept, v_sum;
        CONTINUE WHEN NOT v_kept;
        v_changed := true;
        o_is_unclear := o_is_unclear OR NOT (
            v_new OR v_known OR v_is_whole
            OR jsonb_array_length(v_package -> 'origin_ids') > 0);
        IF v_known THEN
            -- A cancelled line may leave its package without a package of its own.
            DELETE FROM package_line l
             WHERE l.merchant_id = p_merchant AND l.order_id = o_order_id
               AND l.package_id = v_package ->> 'external_id'
               AND NOT EXISTS (SELECT 1 FROM jsonb_array_elements(v_package -> 'lines') x
                                WHERE x ->> 'line_id' = l.line_id);
            SELECT sum(payable) INTO v_sum FROM package_line
             WHERE merchant_id = p_merchant AND order_id = o_order_id
               AND package_id = v_package ->> 'external_id';
        END IF;

        IF abs(v_sum - (v_package ->> 'stated_total')::numeric) >= 0.01 THEN
            PERFORM raise_alert(p_merchant, 'alert.order.total_mismatch',
                concat_ws(' ', p_order ->> 'external_id', v_package ->> 'external_id'), p_account,
                jsonb_build_object('order', p_order ->> 'external_id', 'lines', v_sum::text,
                                   'stated', v_package ->> 'stated_total'), p_now_us);
        END IF;
    END LOOP;

    IF NOT v_new AND NOT v_changed AND NOT v_is_whole THEN
        o_outcome := 'same';
        RETURN;
    END IF;

    -- An address may come after its order, or be put right while the goods are still here. What is told
    -- later may hide the buyer, and what was erased stays erased.
    IF v_changed AND NOT v_new AND NOT v_is_erased AND v_effect = 'reserve'
       AND p_order ->> 'city' <> '' THEN
        UPDATE orders
           SET person_sealed = p_person, raw_sealed = p_raw, key_number = p_key_number,
               is_company = (p_order ->> 'is_company')::boolean, city = p_order ->> 'city',
               country_code = p_order ->> 'country_code'
         WHERE merchant_id = p_merchant AND order_id = o_order_id;
    END IF;

    IF NOT v_is_plain THEN
        -- Units of each SKU that stand in living packages, and in one that was broken up.
        SELECT array_agg(v.item_key), array_agg(v.units), array_agg(v.units_broken_up)
          INTO v_item_keys, v_living, v_broken_up
          FROM (SELECT pl.item_key,
                       coalesce(sum(pl.units) FILTER (WHERE e.effect <> 'none'), 0)::integer AS units,
                       coalesce(max(pl.units) FILTER (WHERE e.effect = 'none'), 0)
                           AS units_broken_up
                  FROM package_effects(p_merchant, o_order_id) e
                  JOIN package_line pl ON pl.merchant_id = p_merchant AND pl.order_id = o_order_id
                                      AND pl.package_id = e.package_id
                 GROUP BY pl.item_key) v;
    END IF;

    -- The SKUs of the order. units_ordered only grows: a broken-up package does not unsell. An
    -- order read whole may lower it, yet not below what a package held whose parts are still to come.
    WITH seen AS (
        SELECT l.item_key, (array_agg(l.sku))[1] AS sku, (array_agg(l.barcode))[1] AS barcode,
               (array_agg(l.title))[1] AS title, sum(l.units)::integer AS units
          FROM jsonb_array_elements(v_packages) p
         CROSS JOIN jsonb_to_recordset(p -> 'lines')
                        AS l (item_key text, sku text, barcode text, title text, units integer)
         GROUP BY l.item_key
    ), living AS (
        SELECT * FROM unnest(v_item_keys, v_living, v_broken_up)
                          AS v (item_key, units, units_broken_up)
    ), before AS (
        SELECT item_key, units_ordered FROM order_line
         WHERE NOT v_is_plain AND merchant_id = p_merchant AND order_id = o_order_id
    ), kept AS (
        INSERT INTO order_line AS ol (merchant_id, order_id, item_key, variant_id, sku, barcode,
                                      title, units_ordered)
        SELECT p_merchant, o_order_id, s.item_key,
               -- The first rule of resolve_variant stands here in the open: nearly always it holds.
               coalesce((SELECT l.variant_id
                           FROM (SELECT listing_id FROM listing_key
                                  WHERE merchant_id = p_merchant AND account_id = p_account
                                    AND stock_code = s.sku AND s.sku <> '' OFFSET 0) k
                           JOIN listing l ON l.merchant_id = p_merchant
                                         AND l.listing_id = k.listing_id
                          ORDER BY l.state = 'closed', k.listing_id DESC LIMIT 1),
                        resolve_variant(p_merchant, p_account, s.sku, s.barcode)),
               s.sku, s.barcode, s.title,
               CASE WHEN v_is_plain THEN s.units ELSE coalesce(v.units, 0) END
          FROM seen s LEFT JOIN living v USING (item_key)
        ON CONFLICT (merchant_id, order_id, item_key) DO UPDATE
           SET units_ordered = greatest(excluded.units_ordered,
                   CASE WHEN v_is_whole THEN (SELECT max(v.units_broken_up) FROM living v
                                               WHERE v.item_key = ol.item_key)
                        ELSE ol.units_ordered END),
               variant_id = coalesce(ol.variant_id, excluded.variant_id)
        RETURNING ol.item_key, ol.variant_id, ol.units_ordered
    ), grown AS (
        SELECT k.*, k.units_ordered - coalesce(b.units_ordered, 0) AS units
          FROM kept k LEFT JOIN before b USING (item_key)
    ), shelf AS (
        -- The channel has lowered its own shelf by these units, at the moment of the order.
        INSERT INTO offer_shelf_sale AS ss (merchant_id, account_id, listing_id, order_id, placed_us,
                                            units)
        SELECT p_merchant, p_account, own.listing_id, o_order_id,
               (extract(epoch FROM (p_order ->> 'placed_at')::timestamptz) * 1000000)::bigint,
               sum(g.units)
          FROM grown g
         CROSS JOIN LATERAL (
              SELECT l.listing_id FROM listing l
               WHERE l.merchant_id = p_merchant AND l.account_id = p_account
                 AND l.variant_id = g.variant_id AND l.state <> 'closed' OFFSET 0) own
         WHERE v_lowers_own_shelf AND g.units > 0
         GROUP BY own.listing_id
        ON CONFLICT (merchant_id, account_id, listing_id, order_id) DO UPDATE
           SET units = ss.units + excluded.units
    )
    SELECT count(*) FILTER (WHERE g.variant_id IS NULL),
           array_agg(g.variant_id) FILTER (WHERE g.units > 0),
           array_agg(g.item_key), array_agg(g.variant_id), array_agg(g.units_ordered),
           -- Plain to the end: every SKU is known, no bundle, and counted where this account sells.
           v_is_plain AND bool_and(
               NOT EXISTS (SELECT 1 FROM bundle_component b
                            WHERE b.merchant_id = p_merchant AND b.bundle_variant_id = g.variant_id)
               AND EXISTS (SELECT 1 FROM stock_level sl
                            WHERE sl.merchant_id = p_merchant AND sl.variant_id = g.variant_id
                              AND (v_locations IS NULL OR sl.location_id = ANY (v_locations))))
      INTO v_unknown, v_grown, v_item_keys, v_variants, v_units, v_is_plain
      FROM grown g;
    IF v_unknown > 0 THEN
        PERFORM raise_alert(p_merchant, 'alert.order.unknown_sku',
                            (p_order ->> 'external_id') || ' ' || ol.item_key, p_account,
                            jsonb_build_object('order', p_order ->> 'external_id', 'sku', ol.sku),
                            p_now_us)
           FROM order_line ol
          WHERE ol.merchant_id = p_merchant AND ol.order_id = o_order_id AND ol.variant_id IS NULL;
    END IF;

    IF v_is_plain THEN
        SELECT b.o_accounts, b.o_is_short INTO o_accounts, v_is_short
          FROM book_order(p_merchant, o_order_id, v_item_keys, v_variants,
                          CASE WHEN v_effect = 'reserve' THEN v_units END,
                          CASE WHEN v_effect = 'consume' THEN v_units END,
                          v_locations, p_order ->> 'actor', p_now, p_now_us) b;
        IF v_is_short THEN
            PERFORM tell_backorder(p_merchant, o_order_id, v_locations);
        END IF;
    ELSE
        o_accounts := settle_order(p_merchant, o_order_id, p_order ->> 'actor', p_now, p_now_us);
    END IF;

    IF v_grown IS NOT NULL THEN
        -- The channel lowered its own shelf, or may have. Where the quantity it should show stays as
        -- it was (capped, shared out, rounded, or the order was first seen when it was cancelled
        -- again), it must be told again. What this transaction has changed is dirty already; the
        -- rows are locked since settle_order.
        WITH told_again AS (
            UPDATE offer_desired_quantity d SET revision = d.revision + 1
              FROM unnest(v_grown) AS g (variant_id)
             CROSS JOIN LATERAL (
                  SELECT l.listing_id FROM listing l
                   WHERE l.merchant_id = p_merchant AND l.account_id = p_account
                     AND l.variant_id = g.variant_id AND l.state <> 'closed'
                  OFFSET 0) own
             CROSS JOIN LATERAL (
                  SELECT q.ctid AS row_id FROM offer_desired_quantity q
                   WHERE q.merchant_id = p_merchant AND q.account_id = p_account
                     AND q.listing_id = own.listing_id
                  OFFSET 0) r
             WHERE d.ctid = r.row_id AND d.xmin <> pg_current_xact_id()::xid
            RETURNING d.account_id, d.listing_id
        ), marked AS (
            INSERT INTO offer_dirty AS o
                (merchant_id, account_id, listing_id, field, urgency, rank, since_us, reassert)
            SELECT p_merchant, t.account_id, t.listing_id, 1, 3, 0, p_now_us, true
              FROM told_again t ORDER BY t.listing_id
            ON CONFLICT (merchant_id, account_id, field, listing_id) DO UPDATE
               SET not_before_us = 0, since_us = least(o.since_us, excluded.since_us),
                   reassert = true
            RETURNING o.account_id
        )
        SELECT array_agg(DISTINCT account_id) INTO v_own_accounts FROM marked;
        o_accounts := o_accounts || coalesce(v_own_accounts, '{}');
    END IF;
    IF o_is_unclear THEN
        -- Only where goods of the same kind were known before could it be a part of them.
        SELECT EXISTS (
            SELECT 1 FROM package_line one
              JOIN package_line other
                ON other.merchant_id = one.merchant_id AND other.order_id = one.order_id
               AND other.item_key = one.item_key AND other.package_id <> one.package_id
             WHERE one.merchant_id = p_merchant AND one.order_id = o_order_id) INTO o_is_unclear;
    END IF;

    IF NOT v_new OR jsonb_array_length(v_packages) > 1 THEN
        UPDATE orders o
           SET payable = t.payable,
               payable_minor = round(t.payable * (p_order ->> 'minor_factor')::numeric)::bigint
          FROM (SELECT coalesce(sum(pl.payable), 0) AS payable
                  FROM package_line pl
                  JOIN package p ON p.merchant_id = pl.merchant_id AND p.order_id = pl.order_id
                                AND p.external_id = pl.package_id
                  LEFT JOIN package_state s ON s.state = p.state
                 WHERE pl.merchant_id = p_merchant AND pl.order_id = o_order_id
                   AND coalesce(s.effect, 'reserve') IN ('reserve', 'consume')) t
         WHERE o.merchant_id = p_merchant AND o.order_id = o_order_id AND o.payable <> t.payable;
    END IF;

    IF v_is_short IS NOT FALSE THEN
        SELECT coalesce(sum(units_backorder), 0) INTO o_backorder FROM order_line
         WHERE merchant_id = p_merchant AND order_id = o_order_id;
    END IF;
    IF o_backorder > 0 THEN
        PERFORM raise_alert(p_merchant, 'alert.stock.oversold', p_order ->> 'external_id', p_account,
            jsonb_build_object('order', p_order ->> 'external_id', 'units', o_backorder), p_now_us);
    END IF;

    o_outcome := CASE WHEN v_new THEN 'new' WHEN v_changed OR o_accounts <> '{}' THEN 'changed'
                      ELSE 'same' END;
    IF o_outcome = 'same' THEN
        RETURN;
    END IF;
    INSERT INTO event (merchant_id, day, at_us, kind, account_id, facts)
    VALUES (p_merchant, p_now::date, p_now_us, 'order.' || o_outcome, p_account,
            jsonb_build_object('order_id', o_order_id, 'external_id', p_order ->> 'external_id',
                               'backorder', o_backorder, 'accounts', to_jsonb(o_accounts)));
END
$$;
