-- The protocol of design.md §2: claim, send, acknowledge. Exact on purpose; tests reproduce the
-- lost updates of its obvious simplifications.

-- Rows of the queue tables are found one by one by their key (LATERAL) and then changed by their
-- place (ctid; their lock or their ticket's keeps it theirs). Joined with the table instead, they
-- would cost its square: these tables grow from nothing to 100,000 rows within a second, and the
-- planner believes for a minute what it was last told. Nothing but a scan by place is allowed here.
CREATE OR REPLACE FUNCTION take_dirty(p_rows tid[]) RETURNS SETOF offer_dirty LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_indexscan = off SET enable_bitmapscan = off AS $$
BEGIN
    RETURN QUERY DELETE FROM offer_dirty WHERE ctid = ANY (p_rows) RETURNING *;
END
$$;

-- May be judged again: what they waited for has come.
CREATE OR REPLACE FUNCTION wake_dirty(p_rows tid[]) RETURNS void LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_indexscan = off SET enable_bitmapscan = off AS $$
BEGIN
    UPDATE offer_dirty SET not_before_us = 0 WHERE ctid = ANY (p_rows);
END
$$;

-- No longer in flight.
CREATE OR REPLACE FUNCTION drop_inflight(p_rows tid[]) RETURNS void LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_indexscan = off SET enable_bitmapscan = off AS $$
BEGIN
    DELETE FROM offer_inflight WHERE ctid = ANY (p_rows);
END
$$;

-- A dirty row that was claimed, with what is known of its listing and what becomes of it.
-- lane: the place of its account in the claim. quantity or the prices: as desired now.
-- listings_max: in one request with it; NULL: a batch.
DROP FUNCTION IF EXISTS judge_claimed;
DROP FUNCTION IF EXISTS open_requests;
DROP FUNCTION IF EXISTS parts_apart;
DROP TYPE IF EXISTS judged_offer;
CREATE TYPE judged_offer AS (
    lane integer, batch integer, epoch bigint, merchant_id integer, account_id integer,
    listing_id bigint, field smallint, urgency smallint, rank integer, since_us bigint,
    reassert boolean, push_key text, revision bigint, quantity integer, list_minor bigint,
    sale_minor bigint, floor_minor bigint, is_open boolean, listings_max integer, verdict text
);

-- Read the desired values of claimed rows and judge each: send · drop (nothing to tell) · wait (for
-- the answer to an older request) · expected (the channel did it itself) · rise (held until orders
-- are known).
--
-- Every table is read once a lane, in the order of its key: the listings of a lane are one array,
-- and what was found is merged. Looked up row by row it costs three times as much. The OFFSET keeps
-- a lane's reading together; its keys are then constants to the planner.
CREATE FUNCTION judge_claimed(
    p_rows offer_dirty[], p_merchants integer[], p_accounts integer[], p_batches integer[],
    p_up boolean[], p_ordered boolean[], p_epochs bigint[], p_skew_us bigint
) RETURNS SETOF judged_offer LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_material = off SET enable_hashjoin = off SET enable_nestloop = off
SET enable_mergejoin = on AS $$
BEGIN
    RETURN QUERY
    WITH lane AS MATERIALIZED (
        SELECT x.*, d.claimed, d.listings, d.quantities, d.prices
          FROM unnest(p_merchants, p_accounts, p_batches, p_up, p_ordered, p_epochs)
                   WITH ORDINALITY
                   AS x (merchant_id, account_id, batch, may_rise, is_ordered, epoch, place)
          JOIN (SELECT r.merchant_id, r.account_id, array_agg(r) AS claimed,
                       array_agg(r.listing_id) AS listings,
                       array_agg(r.listing_id) FILTER (WHERE r.field = 1) AS quantities,
                       array_agg(r.listing_id) FILTER (WHERE r.field = 2) AS prices
                  FROM unnest(p_rows) r GROUP BY r.merchant_id, r.account_id) d
         USING (merchant_id, account_id)
    )
    SELECT lane.place::integer, lane.batch, lane.epoch, lane.merchant_id, lane.account_id,
           c.listing_id, c.field, c.urgency, c.rank, c.since_us, c.reassert, c.push_key, c.revision,
           c.quantity, c.list_minor, c.sale_minor, c.floor_minor, c.is_open, c.listings_max,
           CASE
           WHEN c.revision IS NULL OR NOT c.is_pushable THEN 'drop'
           WHEN NOT c.reassert AND (c.acknowledged >= c.revision OR c.newest_sent >= c.revision)
               THEN 'drop'
           -- Strictly one after the other per listing: an unanswered request is never overtaken.
           WHEN c.is_unanswered THEN 'wait'
           WHEN c.is_open AND NOT lane.is_ordered
                AND NOT (c.field = 1 AND c.quantity < c.least_quantity) THEN 'wait'
           WHEN c.field = 1 AND NOT c.is_open AND c.own_units > 0
                AND NOT c.is_ambiguous AND NOT c.is_unsettled
                AND c.shelf_quantity - c.own_units = c.quantity THEN 'expected'
           -- Lower than what stands there or is on its way there may always go. All else could
           -- put back a unit whose sale is not known yet.
           WHEN c.field = 1 AND NOT lane.may_rise
                AND c.quantity >= greatest(
                        coalesce(c.shelf_quantity - coalesce(c.own_units, 0), -1),
                        coalesce(c.greatest_quantity, -1)) THEN 'rise'
           ELSE 'send' END
      FROM lane
     CROSS JOIN LATERAL (
        SELECT d.listing_id, d.field, d.urgency, d.rank, d.since_us, d.reassert, d.listings_max,
               key.push_key,
               CASE d.field WHEN 1 THEN q.revision ELSE p.revision END AS revision,
               q.quantity, p.list_minor, p.sale_minor, p.floor_minor,
               k.quantity AS shelf_quantity,
               CASE d.field WHEN 1 THEN k.quantity_revision ELSE k.price_revision END
                   AS acknowledged,
               l.state IN ('on_sale', 'off_sale') AS is_pushable,
               coalesce(f.is_unanswered, false) AS is_unanswered,
               coalesce(f.is_open, false) AS is_open,
               f.least_quantity, f.greatest_quantity, coalesce(f.newest, 0) AS newest_sent,
               CASE WHEN NOT d.reassert THEN s.units END AS own_units, s.is_ambiguous,
               u.listing_id IS NOT NULL AS is_unsettled
          FROM (SELECT * FROM unnest(lane.claimed) r ORDER BY r.listing_id, r.field OFFSET 0) d
          JOIN listing l ON l.merchant_id = lane.merchant_id
           AND l.listing_id = ANY (lane.listings) AND l.listing_id = d.listing_id
          JOIN listing_key key ON key.merchant_id = lane.merchant_id
           AND key.account_id = lane.account_id AND key.listing_id = ANY (lane.listings)
           AND key.listing_id = d.listing_id
          JOIN offer_acknowledged k ON k.merchant_id = lane.merchant_id
           AND k.account_id = lane.account_id AND k.listing_id = ANY (lane.listings)
           AND k.listing_id = d.listing_id
          LEFT JOIN offer_desired_quantity q ON q.merchant_id = lane.merchant_id
           AND q.account_id = lane.account_id AND q.listing_id = ANY (lane.quantities)
           AND q.listing_id = d.listing_id AND d.field = 1
          LEFT JOIN offer_desired_price p ON p.merchant_id = lane.merchant_id
           AND p.account_id = lane.account_id AND p.listing_id = ANY (lane.prices)
           AND p.listing_id = d.listing_id AND d.field = 2
          LEFT JOIN (
              SELECT i.listing_id, i.field, bool_or(i.state = 1) AS is_unanswered,
                     bool_or(i.state = 2) AS is_open, min(i.quantity) AS least_quantity,
                     max(i.quantity) AS greatest_quantity, max(i.revision) AS newest
                FROM (SELECT x.*, (SELECT t.state FROM ticket t
                                    WHERE t.merchant_id = x.merchant_id
                                      AND t.ticket_id = x.ticket_id) AS state
                        FROM offer_inflight x
                       WHERE x.merchant_id = lane.merchant_id AND x.account_id = lane.account_id
                         AND x.listing_id = ANY (lane.listings) OFFSET 0) i
               GROUP BY i.listing_id, i.field
          ) f ON f.listing_id = d.listing_id AND f.field = d.field
          LEFT JOIN (
              -- Placed clearly after our last push stood: the channel lowered its shelf by these.
              -- Placed about when it was on its way: nobody can say, so the shelf is told again.
              SELECT z.listing_id,
                     sum(z.units) FILTER (WHERE z.placed_us > z.done_us + p_skew_us)::integer
                         AS units,
                     bool_or(z.placed_us BETWEEN z.sent_us - p_skew_us
                                             AND z.done_us + p_skew_us) AS is_ambiguous
                FROM (SELECT x.listing_id, x.units, x.placed_us,
                             (SELECT a.quantity_sent_us FROM offer_acknowledged a
                               WHERE a.merchant_id = x.merchant_id AND a.account_id = x.account_id
                                 AND a.listing_id = x.listing_id) AS sent_us,
                             (SELECT a.quantity_done_us FROM offer_acknowledged a
                               WHERE a.merchant_id = x.merchant_id AND a.account_id = x.account_id
                                 AND a.listing_id = x.listing_id) AS done_us
                        FROM offer_shelf_sale x
                       WHERE x.merchant_id = lane.merchant_id AND x.account_id = lane.account_id
                         AND x.listing_id = ANY (lane.quantities) OFFSET 0) z
               GROUP BY z.listing_id
          ) s ON s.listing_id = d.listing_id AND d.field = 1
          LEFT JOIN offer_unsettled u ON u.merchant_id = lane.merchant_id
           AND u.account_id = lane.account_id AND u.listing_id = ANY (lane.listings)
           AND u.listing_id = d.listing_id AND u.field = d.field
        OFFSET 0) c;
END
$$;

-- From version 17 on an index gives the listings of an array in order. With no sorting allowed, the
-- key's own index is the only way left, however small the planner believes a table to be.
DO $$
BEGIN
    IF current_setting('server_version_num')::integer >= 170000 THEN
        ALTER FUNCTION judge_claimed SET enable_sort = off;
    END IF;
END
$$;

-- Parts of requests that were refused as a whole (listings_max) are told apart from all else, and
-- what was refused even by itself goes by itself. They make many small requests: no more of them are
-- begun at once than the lane asked for, the most urgent first; the rest is left for later.
CREATE FUNCTION parts_apart(p_items judged_offer[], p_requests integer[])
RETURNS SETOF judged_offer LANGUAGE sql AS $$
    WITH item AS (
        SELECT i.*, min(i.urgency) OVER listing AS first_urgency, min(i.rank) OVER listing AS first_rank,
               CASE WHEN EXISTS (SELECT 1 FROM offer_refusal r
                                  WHERE r.merchant_id = i.merchant_id
                                    AND r.account_id = i.account_id
                                    AND r.listing_id = i.listing_id AND r.is_alone)
                    THEN 1 ELSE min(i.listings_max) OVER listing END AS part_max
          FROM unnest(p_items) i
        WINDOW listing AS (PARTITION BY i.lane, i.listing_id)
    ), cut AS (
        SELECT i.*, (dense_rank() OVER (PARTITION BY i.lane, i.part_max
                                        ORDER BY i.first_urgency, i.first_rank, i.listing_id) - 1)
                        / least(i.batch, coalesce(i.part_max, i.batch)) AS part
          FROM item i
    ), ranked AS (
        SELECT c.*, min(c.first_urgency) OVER (PARTITION BY c.lane, c.part_max, c.part)
                        AS part_urgency
          FROM cut c
    ), placed AS (
        SELECT r.*, dense_rank() OVER (PARTITION BY r.lane
                                       ORDER BY r.part_urgency, r.part_max, r.part) AS place
          FROM ranked r
    )
    SELECT lane, batch, epoch, merchant_id, account_id, listing_id, field, urgency, rank, since_us,
           reassert, push_key, revision, quantity, list_minor, sale_minor, floor_minor, is_open,
           part_max, CASE WHEN place <= p_requests[lane] THEN verdict ELSE 'later' END
      FROM placed
$$;

-- Beside a quantity that was told before, or refused as a repetition: its own price, and prices of a few
-- more listings, others each time. Some marketplaces refuse a body they have had within minutes, and a
-- quantity that comes and goes makes the same one again and again. A price that stands there changes
-- nothing.
CREATE OR REPLACE FUNCTION companions(
    p_rows offer_dirty[], p_merchants integer[], p_accounts integer[], p_joint boolean[],
    p_now_us bigint
) RETURNS SETOF offer_dirty LANGUAGE sql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off AS $$
    WITH repeated AS (
        SELECT d.*
          FROM unnest(p_rows) d
          JOIN unnest(p_merchants, p_accounts, p_joint) AS x (merchant_id, account_id, is_joint)
         USING (merchant_id, account_id)
         WHERE d.reassert AND d.field = 1 AND NOT x.is_joint
           AND (EXISTS (SELECT 1 FROM offer_unsettled u
                         WHERE u.merchant_id = d.merchant_id AND u.account_id = d.account_id
                           AND u.listing_id = d.listing_id AND u.field = 1 AND u.reason = 3)
                OR (SELECT k.quantity_revision FROM offer_acknowledged k
                     WHERE k.merchant_id = d.merchant_id AND k.account_id = d.account_id
                       AND k.listing_id = d.listing_id)
                   >= (SELECT q.revision FROM offer_desired_quantity q
                        WHERE q.merchant_id = d.merchant_id AND q.account_id = d.account_id
                          AND q.listing_id = d.listing_id))
    )
    SELECT r.merchant_id, r.account_id, other.listing_id, 2::smallint, r.urgency, r.rank, r.since_us,
           0::bigint, true, NULL::integer
      FROM (SELECT DISTINCT ON (merchant_id, account_id) * FROM repeated
             ORDER BY merchant_id, account_id, urgency, rank, listing_id) r
     CROSS JOIN LATERAL (
          -- Eight from there on, going round; each of them or not, by chance.
          SELECT k.listing_id
            FROM (SELECT 1 AS turn, r.listing_id AS after_id UNION ALL SELECT 2, 0) t
           CROSS JOIN LATERAL (
                SELECT a.listing_id FROM offer_acknowledged a
                 WHERE a.merchant_id = r.merchant_id AND a.account_id = r.account_id
                   AND a.listing_id > t.after_id AND a.price_revision > 0
                 ORDER BY a.listing_id LIMIT 8) k
           WHERE NOT EXISTS (SELECT 1 FROM unnest(p_rows) d
                              WHERE d.merchant_id = r.merchant_id AND d.account_id = r.account_id
                                AND d.listing_id = k.listing_id)
             AND NOT EXISTS (SELECT 1 FROM offer_inflight i
                              WHERE i.merchant_id = r.merchant_id AND i.account_id = r.account_id
                                AND i.listing_id = k.listing_id)
             AND NOT EXISTS (SELECT 1 FROM offer_conflict c
                              WHERE c.merchant_id = r.merchant_id AND c.account_id = r.account_id
                                AND c.listing_id = k.listing_id)
             AND NOT EXISTS (SELECT 1 FROM offer_refusal f
                              WHERE f.merchant_id = r.merchant_id AND f.account_id = r.account_id
                                AND f.listing_id = k.listing_id)
           ORDER BY t.turn, k.listing_id LIMIT 8) other
     WHERE hashint8extended(other.listing_id, p_now_us) & 1 = 0  -- by chance, yet the same again
    UNION ALL
    SELECT d.merchant_id, d.account_id, d.listing_id, 2::smallint, d.urgency, d.rank, d.since_us,
           0::bigint, true, d.listings_max
      FROM repeated d
     WHERE NOT EXISTS (SELECT 1 FROM unnest(p_rows) o
                        WHERE o.merchant_id = d.merchant_id AND o.account_id = d.account_id
                          AND o.listing_id = d.listing_id AND o.field = 2)
$$;

-- Cut what shall be sent into requests of at most a batch of listings, a ticket each, and note both
-- as in flight. A listing is in one request with all its fields.
CREATE FUNCTION open_requests(p_items judged_offer[], p_now_us bigint, p_send_by_us bigint)
RETURNS TABLE (
    o_ticket_id bigint, o_merchant_id integer, o_account_id integer, o_listing_id bigint,
    o_push_key text, o_quantity integer, o_list_minor bigint, o_sale_minor bigint,
    o_floor_minor bigint, o_urgency smallint, o_since_us bigint
) LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_material = off SET enable_nestloop = off
SET enable_hashjoin = on AS $$
BEGIN
    RETURN QUERY
    WITH listed AS (
        SELECT i.lane, i.batch, i.epoch, i.merchant_id, i.account_id, i.listing_id,
               min(i.push_key) AS push_key, min(i.urgency) AS urgency, min(i.rank) AS rank,
               max(i.quantity) AS quantity, max(i.list_minor) AS list_minor,
               max(i.sale_minor) AS sale_minor, max(i.floor_minor) AS floor_minor,
               min(i.listings_max) AS listings_max,
               max(i.revision) FILTER (WHERE i.field = 1) AS quantity_revision,
               max(i.since_us) FILTER (WHERE i.field = 1) AS quantity_since_us,
               max(i.revision) FILTER (WHERE i.field = 2) AS price_revision,
               max(i.since_us) FILTER (WHERE i.field = 2) AS price_since_us
          FROM unnest(p_items) i
         GROUP BY i.lane, i.batch, i.epoch, i.merchant_id, i.account_id, i.listing_id
    ), numbered AS MATERIALIZED (
        SELECT l.*, (row_number() OVER (PARTITION BY l.lane, l.listings_max
                                        ORDER BY l.urgency, l.rank, l.listing_id) - 1)
                        / least(l.batch, coalesce(l.listings_max, l.batch))
                        + coalesce(l.listings_max, 0) * 4294967296 AS request
          FROM listed l
    ), request AS MATERIALIZED (
        SELECT r.*, nextval('ticket_id_seq') AS ticket_id
          FROM (SELECT n.lane, n.request, n.epoch, n.merchant_id, n.account_id, n.listings_max,
                       array_agg(n.listing_id ORDER BY n.listing_id) AS listing_ids
                  FROM numbered n
                 GROUP BY n.lane, n.request, n.epoch, n.merchant_id, n.account_id, n.listings_max
                 ORDER BY n.lane, n.request) r
    ), opened AS (
        INSERT INTO ticket (merchant_id, ticket_id, account_id, surface, epoch, state, listing_ids,
                            listings_max, send_by_us, claimed_us)
        SELECT r.merchant_id, r.ticket_id, r.account_id, 'offer', r.epoch, 1, r.listing_ids,
               r.listings_max, p_send_by_us, p_now_us
          FROM request r
    ), sent AS (
        INSERT INTO offer_inflight (merchant_id, account_id, listing_id, field, ticket_id, revision,
                                    quantity, list_minor, sale_minor, floor_minor, since_us)
        SELECT n.merchant_id, n.account_id, n.listing_id, 1::smallint, r.ticket_id,
               n.quantity_revision, n.quantity, NULL::bigint, NULL::bigint, NULL::bigint,
               n.quantity_since_us
          FROM numbered n JOIN request r USING (lane, request)
         WHERE n.quantity_revision IS NOT NULL
        UNION ALL
        SELECT n.merchant_id, n.account_id, n.listing_id, 2::smallint, r.ticket_id,
               n.price_revision, NULL, n.list_minor, n.sale_minor, n.floor_minor, n.price_since_us
          FROM numbered n JOIN request r USING (lane, request)
         WHERE n.price_revision IS NOT NULL
    )
    SELECT r.ticket_id, n.merchant_id, n.account_id, n.listing_id, n.push_key, n.quantity,
           n.list_minor, n.sale_minor, n.floor_minor, n.urgency,
           least(n.quantity_since_us, n.price_since_us)
      FROM numbered n
      JOIN request r USING (lane, request)
     ORDER BY r.ticket_id, n.listing_id;
END
$$;

-- Claim dirty rows for many lanes. Statement 1 (per lane) locks and deletes; statement 2
-- (judge_claimed) reads the desired values under a fresh snapshot (a volatile function takes one
-- per statement in READ COMMITTED). Reading them in the statement that deletes would read values
-- older than a change whose dirty row has just been deleted: that change would be lost.
--
-- Lanes arrive as parallel arrays:
--   limit: rows to claim · bulk: at most so many of them not urgent · batch: listings a request · up: quantities may rise (order cursor is
--   fresh) · ordered: open tickets are known to apply in the order sent · joint: a body must carry
--   all fields · first: the field that goes first among the not urgent (aging: the caller
--   alternates) · after: listing after which the round among the not urgent goes on.
CREATE OR REPLACE FUNCTION claim_offers(
    p_merchants integer[], p_accounts integer[], p_limits integer[], p_bulk integer[],
    p_batches integer[], p_up boolean[], p_ordered boolean[], p_joint boolean[], p_first smallint[], p_after bigint[],
    p_epochs bigint[], p_now_us bigint, p_send_by_us bigint, p_skew_us bigint
) RETURNS TABLE (
    o_ticket_id bigint, o_merchant_id integer, o_account_id integer, o_listing_id bigint,
    o_push_key text, o_quantity integer, o_list_minor bigint, o_sale_minor bigint,
    o_floor_minor bigint, o_urgency smallint, o_since_us bigint
) LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_material = off
SET enable_hashjoin = off SET enable_mergejoin = off AS $$
#variable_conflict use_column
DECLARE
    v_rows offer_dirty[];
    v_found tid[];
    v_left integer;
    v_field smallint;
    v_round integer;
    v_send judged_offer[];
    v_overlaps boolean;
    v_parts boolean;  -- some of a request that was refused as a whole
    v_others judged_offer[];  -- judged otherwise
    i integer;
BEGIN
    -- A process that slept through its lease and its takeover claims nothing: what it took could
    -- neither be sent nor be seen by its successor.
    SELECT array_agg(x.rows_max ORDER BY x.place), array_agg(x.bulk ORDER BY x.place)
      INTO p_limits, p_bulk
      FROM (SELECT l.place, CASE WHEN is_over THEN 0 ELSE l.rows_max END AS rows_max,
                   CASE WHEN is_over THEN 0 ELSE l.bulk END AS bulk
              FROM unnest(p_merchants, p_accounts, p_limits, p_bulk, p_epochs) WITH ORDINALITY
                       AS l (merchant_id, account_id, rows_max, bulk, epoch, place)
             CROSS JOIN LATERAL (
                  SELECT EXISTS (SELECT 1 FROM ownership o
                                  WHERE o.merchant_id = l.merchant_id
                                    AND o.account_id = l.account_id
                                    AND o.epoch > l.epoch) AS is_over) o) x;

    -- What is urgent, of all lanes at once: a claim for many lanes mostly finds a row or two a lane.
    SELECT array_agg(d.row_id) INTO v_found
      FROM unnest(p_merchants, p_accounts, p_limits) AS x (merchant_id, account_id, rows_max)
     CROSS JOIN LATERAL (
          SELECT o.ctid AS row_id FROM offer_dirty o
           WHERE o.merchant_id = x.merchant_id AND o.account_id = x.account_id
             AND o.urgency <= 1 AND o.not_before_us <= p_now_us
           ORDER BY o.urgency, o.rank, o.since_us, o.listing_id
           LIMIT x.rows_max FOR UPDATE SKIP LOCKED) d;
    v_rows := ARRAY(SELECT t FROM take_dirty(v_found) t);

    -- The rest, lane by lane, where there is any.
    FOR i, v_left IN
        SELECT x.place, least(x.bulk, x.rows_max - coalesce(u.rows, 0))
          FROM unnest(p_merchants, p_accounts, p_limits, p_bulk, p_up) WITH ORDINALITY
                   AS x (merchant_id, account_id, rows_max, bulk, may_rise, place)
          LEFT JOIN (SELECT r.merchant_id, r.account_id, count(*) AS rows
                       FROM unnest(v_rows) r GROUP BY r.merchant_id, r.account_id) u
            ON u.merchant_id = x.merchant_id AND u.account_id = x.account_id
         WHERE EXISTS (SELECT 1 FROM offer_dirty d
                        WHERE d.merchant_id = x.merchant_id AND d.account_id = x.account_id
                          AND d.not_before_us <= p_now_us AND (x.may_rise OR d.urgency <> 3))
         ORDER BY x.place
    LOOP
        FOREACH v_field IN ARRAY ARRAY[p_first[i], (3 - p_first[i])::smallint] LOOP
            FOR v_round IN 1 .. 2 LOOP  -- behind the cursor, then from the beginning up to it
                EXIT WHEN v_left <= 0;
                SELECT array_agg(d.row_id) INTO v_found
                  FROM (SELECT ctid AS row_id FROM offer_dirty
                         WHERE merchant_id = p_merchants[i] AND account_id = p_accounts[i]
                           AND field = v_field
                           AND listing_id > CASE v_round WHEN 1 THEN p_after[i] ELSE 0 END
                           AND listing_id <= CASE v_round WHEN 1 THEN 9223372036854775807
                                                          ELSE p_after[i] END
                           AND not_before_us <= p_now_us
                           AND (p_up[i] OR urgency <> 3)
                         ORDER BY listing_id LIMIT v_left FOR UPDATE SKIP LOCKED) d;
                v_rows := v_rows || ARRAY(SELECT t FROM take_dirty(v_found) t);
                v_left := v_left - coalesce(array_length(v_found, 1), 0);
            END LOOP;
        END LOOP;
    END LOOP;
    IF array_length(v_rows, 1) IS NULL THEN
        RETURN;
    END IF;
    IF EXISTS (SELECT 1 FROM unnest(v_rows) r WHERE r.reassert AND r.field = 1) THEN
        v_rows := v_rows || ARRAY(
            SELECT c FROM companions(v_rows, p_merchants, p_accounts, p_joint, p_now_us) c);
    END IF;
    -- A marketplace that demands all fields: the other one is read in the same claim.
    IF true = ANY (p_joint) THEN
        v_rows := v_rows || ARRAY(
            SELECT ROW(d.merchant_id, d.account_id, d.listing_id, 3 - d.field, d.urgency, d.rank,
                       d.since_us, 0, true, d.listings_max)::offer_dirty
              FROM (SELECT r.*, count(*) OVER (PARTITION BY r.merchant_id, r.account_id,
                                                            r.listing_id) AS fields
                      FROM unnest(v_rows) AS r) AS d
              JOIN unnest(p_merchants, p_accounts, p_joint) AS x (merchant_id, account_id, is_joint)
             USING (merchant_id, account_id)
             WHERE d.fields = 1 AND x.is_joint);
    END IF;

    SELECT array_agg(j) FILTER (WHERE j.verdict = 'send'),
           array_agg(j) FILTER (WHERE j.verdict IN ('wait', 'rise', 'expected')),
           coalesce(bool_or(j.verdict = 'send' AND j.is_open), false),
           coalesce(bool_or(j.listings_max IS NOT NULL), false)
      INTO v_send, v_others, v_overlaps, v_parts
      FROM judge_claimed(v_rows, p_merchants, p_accounts, p_batches, p_up, p_ordered, p_epochs,
                         p_skew_us) j;
    -- An edit on the panel that waits for its owner is not written over (05_conflict.sql); where a
    -- body must carry all fields, it carries what is shown.
    IF v_send IS NOT NULL AND EXISTS (
           SELECT 1 FROM unnest(p_merchants, p_accounts) AS x (merchant_id, account_id)
             JOIN offer_conflict c USING (merchant_id, account_id)) THEN
        v_send := nullif(ARRAY(
            SELECT CASE WHEN h.shown IS NULL THEN j ELSE jsonb_populate_record(j, h.shown) END
              FROM unnest(v_send) j
             CROSS JOIN LATERAL (SELECT held_offer(j.merchant_id, j.account_id, j.listing_id, j.field,
                                                   j.quantity, j.revision, j.reassert, p_now_us)
                                     AS shown OFFSET 0) h
             WHERE h.shown IS NULL OR p_joint[j.lane]), '{}');
    END IF;
    IF v_send IS NOT NULL AND (
           v_parts
           OR EXISTS (SELECT 1 FROM unnest(p_merchants, p_accounts) AS x (merchant_id, account_id)
                        JOIN offer_refusal r USING (merchant_id, account_id)
                       WHERE r.is_alone)) THEN
        SELECT array_agg(j) FILTER (WHERE j.verdict = 'send'),
               v_others || array_agg(j) FILTER (WHERE j.verdict = 'later')
          INTO v_send, v_others
          FROM parts_apart(v_send, ARRAY(
                   SELECT (x.rows_max + x.batch - 1) / x.batch
                     FROM unnest(p_limits, p_batches) WITH ORDINALITY AS x (rows_max, batch, place)
                    ORDER BY x.place)) j;
    END IF;

    IF v_others IS NOT NULL THEN
        -- Waiting rows are woken by the answer; the time is only the net beneath.
        INSERT INTO offer_dirty AS o (merchant_id, account_id, listing_id, field, urgency, rank,
                                      since_us, not_before_us, reassert, listings_max)
        SELECT merchant_id, account_id, listing_id, field,
               CASE verdict WHEN 'rise' THEN 3 ELSE urgency END, rank, since_us,
               CASE verdict WHEN 'wait' THEN p_now_us + 2000000 ELSE 0 END, reassert, listings_max
          FROM unnest(v_others) j WHERE verdict IN ('wait', 'rise', 'later')
         ORDER BY merchant_id, listing_id, field  -- as everybody takes dirty rows
        ON CONFLICT (merchant_id, account_id, field, listing_id) DO UPDATE
           SET since_us = least(o.since_us, excluded.since_us),
               reassert = o.reassert OR excluded.reassert,
               listings_max = coalesce(o.listings_max, excluded.listings_max);
        -- The channel did it itself: nothing to send, the shelf stands where we want it.
        WITH expected AS (
            UPDATE offer_acknowledged k
               SET quantity = j.quantity, quantity_revision = j.revision
              FROM unnest(v_others) j
             WHERE j.verdict = 'expected' AND k.merchant_id = j.merchant_id
               AND k.account_id = j.account_id AND k.listing_id = j.listing_id
            RETURNING k.merchant_id, k.account_id, k.listing_id
        )
        DELETE FROM offer_shelf_sale z USING expected e
         WHERE z.merchant_id = e.merchant_id AND z.account_id = e.account_id
           AND z.listing_id = e.listing_id;
    END IF;
    IF v_overlaps THEN
        INSERT INTO offer_unsettled AS u (merchant_id, account_id, listing_id, field, recheck_us,
                                          since_us, reason)
        SELECT merchant_id, account_id, listing_id, field, 9223372036854775807, p_now_us, 1
          FROM unnest(v_send) j WHERE is_open
         ORDER BY merchant_id, listing_id, field
        -- An older doubt waits for these tickets too, whenever its own next look would be.
        ON CONFLICT (merchant_id, account_id, listing_id, field) DO UPDATE
           SET recheck_us = excluded.recheck_us;
    END IF;
    IF v_send IS NOT NULL THEN
        RETURN QUERY SELECT * FROM open_requests(v_send, p_now_us, p_send_by_us);
    END IF;
END
$$;

-- A request was answered with a ticket: the intent stays in flight, the listing may be overtaken.
CREATE OR REPLACE FUNCTION accept_tickets(
    p_merchants integer[], p_tickets bigint[], p_epochs bigint[], p_references text[],
    p_handed_us bigint[], p_released_us bigint[], p_accepted_us bigint[]
) RETURNS SETOF bigint LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_material = off
SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    v_found tid[];
BEGIN
    RETURN QUERY
    UPDATE ticket t
       SET state = 2, reference = x.reference, handed_us = x.handed_us,
           released_us = x.released_us, accepted_us = x.accepted_us
      FROM unnest(p_merchants, p_tickets, p_epochs, p_references, p_handed_us, p_released_us,
                  p_accepted_us)
               AS x (merchant_id, ticket_id, epoch, reference, handed_us, released_us, accepted_us)
     WHERE t.merchant_id = x.merchant_id AND t.ticket_id = x.ticket_id AND t.epoch = x.epoch
       AND t.state = 1
    RETURNING t.ticket_id;
    -- Rows that waited for the answer may now be judged again (a quantity down goes at once).
    -- A row that somebody holds is being marked afresh or claimed: it needs no hint, and waiting
    -- for it out of turn could end in a deadlock.
    SELECT array_agg(d.row_id) INTO v_found
      FROM unnest(p_merchants, p_tickets) AS x (merchant_id, ticket_id)
      JOIN ticket t ON t.merchant_id = x.merchant_id AND t.ticket_id = x.ticket_id
     CROSS JOIN LATERAL (
          SELECT o.ctid AS row_id FROM offer_dirty o
           WHERE o.merchant_id = t.merchant_id AND o.account_id = t.account_id
             AND o.field IN (1, 2) AND o.listing_id = ANY (t.listing_ids) AND o.not_before_us > 0
             FOR UPDATE SKIP LOCKED) d;
    IF v_found IS NOT NULL THEN
        PERFORM wake_dirty(v_found);
    END IF;
END
$$;

DROP FUNCTION IF EXISTS apart_from_ticket;
DROP TYPE IF EXISTS ended_item;
-- An item of an ended ticket, as end_tickets passes it from statement to statement.
CREATE TYPE ended_item AS (
    merchant_id integer, account_id integer, listing_id bigint, field smallint,
    ticket_id bigint, revision bigint, quantity integer, list_minor bigint, sale_minor bigint,
    floor_minor bigint, since_us bigint, sent_us bigint, verdict smallint, code text,
    words text, advice text, not_before_us bigint, recheck_us bigint, final_us bigint,
    listings integer, listings_max integer  -- of its ticket: those in it, and those there might be
);

-- The items of ended tickets, those that end differently from their ticket with their own verdict.
CREATE FUNCTION apart_from_ticket(
    p_items ended_item[], x_tickets bigint[], x_listings bigint[], x_fields smallint[],
    x_verdicts smallint[], x_codes text[], x_words text[], x_advice text[]
) RETURNS SETOF ended_item LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_nestloop = off SET enable_hashjoin = on AS $$
BEGIN
    RETURN QUERY
    SELECT i.merchant_id, i.account_id, i.listing_id, i.field, i.ticket_id, i.revision, i.quantity,
           i.list_minor, i.sale_minor, i.floor_minor, i.since_us, i.sent_us,
           coalesce(x.verdict, i.verdict), coalesce(x.code, i.code), coalesce(x.words, i.words),
           coalesce(x.advice, i.advice), i.not_before_us, i.recheck_us, i.final_us, i.listings,
           i.listings_max
      FROM unnest(p_items) i
      LEFT JOIN unnest(x_tickets, x_listings, x_fields, x_verdicts, x_codes, x_words, x_advice)
             AS x (ticket_id, listing_id, field, verdict, code, words, advice)
        ON x.ticket_id = i.ticket_id AND x.listing_id = i.listing_id
       AND (x.field = 0 OR x.field = i.field);
END
$$;

-- End tickets: every item ends as done (0), refused (1), unknown (2), to be sent again (3), unknown
-- with evidence that it arrived (4: look before anything else), or refused with all others of its
-- request (5: told again in halves, down to the one that is to blame). Each ticket has a verdict
-- for all its items; exceptions name single ones (field 0: both).
-- Acknowledged values rise only where the sent revision is not older than what stands there.
CREATE OR REPLACE FUNCTION end_tickets(
    p_merchants integer[], p_tickets bigint[], p_epochs bigint[], p_verdicts smallint[],
    p_codes text[], p_words text[], p_advice text[], p_not_before_us bigint[],
    p_recheck_us bigint[], p_final_us bigint[], p_handed_us bigint[], p_released_us bigint[],
    p_answered_us bigint[], x_tickets bigint[], x_listings bigint[], x_fields smallint[], x_verdicts smallint[],
    x_codes text[], x_words text[], x_advice text[],
    p_now_us bigint, p_skew_us bigint
) RETURNS TABLE (o_ticket_id bigint, o_done integer, o_refused integer, o_unknown integer,
                 o_again integer)
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_material = off
SET enable_hashjoin = off SET enable_mergejoin = off AS $$
#variable_conflict use_column
DECLARE
    v_items ended_item[];
    v_verdicts smallint[];  -- those that occur
    v_found tid[];
    v_unsettled tid[];
    v_refused boolean;
    v_doubted boolean;
    v_sold boolean;
    v_waiting boolean;
BEGIN
    -- Only the owner of the epoch may end a ticket: a zombie's late answer changes nothing.
    WITH x AS (
        SELECT * FROM unnest(p_merchants, p_tickets, p_epochs, p_verdicts, p_codes, p_words,
                             p_advice, p_not_before_us, p_recheck_us, p_final_us, p_handed_us,
                             p_released_us, p_answered_us)
            AS x (merchant_id, ticket_id, epoch, verdict, code, words, advice, not_before_us,
                  recheck_us, final_us, handed_us, released_us, answered_us)
    ), ended AS (
        UPDATE ticket t
           SET state = 3, ended_us = p_now_us,
               handed_us = coalesce(t.handed_us, x.handed_us),
               released_us = coalesce(t.released_us, x.released_us),
               accepted_us = coalesce(t.accepted_us, x.answered_us),
               outcome = (ARRAY['done', 'refused', 'unknown', 'again', 'unknown',
                                'refused'])[x.verdict + 1]
          FROM x
         WHERE t.merchant_id = x.merchant_id AND t.ticket_id = x.ticket_id AND t.epoch = x.epoch
           AND t.state < 3
        RETURNING t.merchant_id, t.account_id, t.ticket_id, t.listing_ids, t.listings_max,
                  cardinality(t.listing_ids) AS listings, t.released_us,
                  x.verdict, x.code, x.words, x.advice, x.not_before_us, x.recheck_us, x.final_us
    )
    SELECT array_agg(ROW(i.merchant_id, i.account_id, i.listing_id, i.field, i.ticket_id, i.revision,
                         i.quantity, i.list_minor, i.sale_minor, i.floor_minor, i.since_us,
                         coalesce(e.released_us, p_now_us), e.verdict, coalesce(e.code, ''),
                         coalesce(e.words, ''), coalesce(e.advice, ''), e.not_before_us,
                         e.recheck_us, e.final_us, e.listings, e.listings_max)::ended_item),
           array_agg(DISTINCT e.verdict), array_agg(i.row_id)
      INTO v_items, v_verdicts, v_found
      FROM ended e
     CROSS JOIN LATERAL (
          SELECT f.ctid AS row_id, f.* FROM offer_inflight f
           WHERE f.merchant_id = e.merchant_id AND f.account_id = e.account_id
             AND f.listing_id = ANY (e.listing_ids) AND f.ticket_id = e.ticket_id
          OFFSET 0) i;
    IF v_items IS NULL THEN
        RETURN;
    END IF;
    IF x_tickets <> '{}' THEN
        v_items := ARRAY(SELECT i FROM apart_from_ticket(v_items, x_tickets, x_listings, x_fields,
                                                         x_verdicts, x_codes, x_words, x_advice) i);
        v_verdicts := ARRAY(SELECT DISTINCT verdict FROM unnest(v_items) i);
    END IF;
    PERFORM drop_inflight(v_found);

    UPDATE offer_acknowledged k
       SET quantity = CASE WHEN d.quantity_revision >= k.quantity_revision
                           THEN d.quantity ELSE k.quantity END,
           quantity_sent_us = CASE WHEN d.quantity_revision >= k.quantity_revision
                                   THEN d.sent_us ELSE k.quantity_sent_us END,
           quantity_done_us = CASE WHEN d.quantity_revision >= k.quantity_revision
                                   THEN p_now_us ELSE k.quantity_done_us END,
           quantity_revision = greatest(d.quantity_revision, k.quantity_revision),
           list_minor = CASE WHEN d.price_revision >= k.price_revision
                             THEN d.list_minor ELSE k.list_minor END,
           sale_minor = CASE WHEN d.price_revision >= k.price_revision
                             THEN d.sale_minor ELSE k.sale_minor END,
           floor_minor = CASE WHEN d.price_revision >= k.price_revision
                              THEN d.floor_minor ELSE k.floor_minor END,
           price_revision = greatest(d.price_revision, k.price_revision)
      FROM (
          SELECT e.merchant_id, e.account_id, e.listing_id, max(e.quantity) AS quantity,
                 max(e.revision) FILTER (WHERE e.field = 1) AS quantity_revision,
                 min(e.sent_us) FILTER (WHERE e.field = 1) AS sent_us,
                 max(e.list_minor) AS list_minor, max(e.sale_minor) AS sale_minor,
                 max(e.floor_minor) AS floor_minor,
                 max(e.revision) FILTER (WHERE e.field = 2) AS price_revision
            FROM (
                SELECT DISTINCT ON (i.merchant_id, i.account_id, i.listing_id, i.field) i.*
                  FROM unnest(v_items) i
                 WHERE i.verdict = 0
                 ORDER BY i.merchant_id, i.account_id, i.listing_id, i.field, i.revision DESC
            ) e
           GROUP BY e.merchant_id, e.account_id, e.listing_id
      ) d
     WHERE k.merchant_id = d.merchant_id AND k.account_id = d.account_id
       AND k.listing_id = d.listing_id
       AND (d.quantity_revision >= k.quantity_revision OR d.price_revision >= k.price_revision);

    -- Mostly there is nothing of the kind: one look a ticket and table, instead of one an item.
    SELECT bool_or(EXISTS (SELECT 1 FROM offer_refusal f
                            WHERE f.merchant_id = t.merchant_id AND f.account_id = t.account_id
                              AND f.listing_id = ANY (t.listing_ids))),
           bool_or(EXISTS (SELECT 1 FROM offer_unsettled f
                            WHERE f.merchant_id = t.merchant_id AND f.account_id = t.account_id
                              AND f.listing_id = ANY (t.listing_ids))),
           bool_or(EXISTS (SELECT 1 FROM offer_shelf_sale f
                            WHERE f.merchant_id = t.merchant_id AND f.account_id = t.account_id
                              AND f.listing_id = ANY (t.listing_ids)))
      INTO v_refused, v_doubted, v_sold
      FROM unnest(p_merchants, p_tickets) AS x (merchant_id, ticket_id)
      JOIN ticket t ON t.merchant_id = x.merchant_id AND t.ticket_id = x.ticket_id;
    IF v_refused THEN
        SELECT array_agg(r.row_id) INTO v_found
          FROM unnest(v_items) i
         CROSS JOIN LATERAL (
              SELECT f.ctid AS row_id FROM offer_refusal f
               WHERE f.merchant_id = i.merchant_id AND f.account_id = i.account_id
                 AND f.listing_id = i.listing_id AND f.field = i.field AND f.revision <= i.revision
              OFFSET 0) r
         WHERE i.verdict = 0;
        IF v_found IS NOT NULL THEN
            DELETE FROM offer_refusal WHERE ctid = ANY (v_found);
        END IF;
    END IF;

    IF 1 = ANY (v_verdicts) THEN
        INSERT INTO offer_refusal AS r (merchant_id, account_id, listing_id, field, revision, code,
                                        words, advice, refused_us, is_alone)
        SELECT DISTINCT ON (i.merchant_id, i.account_id, i.listing_id, i.field)
               i.merchant_id, i.account_id, i.listing_id, i.field, i.revision, i.code, i.words,
               i.advice, p_now_us, i.listings_max IS NOT NULL AND i.listings = 1
          FROM unnest(v_items) i
          JOIN offer_acknowledged k ON k.merchant_id = i.merchant_id
           AND k.account_id = i.account_id AND k.listing_id = i.listing_id
         WHERE i.verdict = 1
           -- A price that was only told beside a quantity, and stands there, is not missing.
           AND NOT (i.field = 2 AND k.price_revision >= i.revision
                    AND (k.list_minor, k.sale_minor) IS NOT DISTINCT FROM (i.list_minor, i.sale_minor))
         ORDER BY i.merchant_id, i.account_id, i.listing_id, i.field, i.revision DESC
        ON CONFLICT (merchant_id, account_id, listing_id, field) DO UPDATE
           SET revision = excluded.revision, code = excluded.code, words = excluded.words,
               advice = excluded.advice, refused_us = excluded.refused_us,
               is_alone = excluded.is_alone,
               tries = CASE WHEN r.revision < excluded.revision THEN 1 ELSE r.tries + 1 END
         WHERE r.revision <= excluded.revision;

        -- A shelf that shows too much is told again, ever more slowly (3 s, 12 s, … an hour), while
        -- its owner sees the refusal: some are no more than a marketplace's bad moment.
        INSERT INTO offer_unsettled AS u (merchant_id, account_id, listing_id, field, recheck_us,
                                          since_us, reason)
        SELECT DISTINCT r.merchant_id, r.account_id, r.listing_id, r.field,
               p_now_us + least(3600000000, 3000000 * 4 ^ least(r.tries - 1, 10))::bigint, p_now_us, 5
          FROM unnest(v_items) i
          JOIN offer_refusal r ON r.merchant_id = i.merchant_id AND r.account_id = i.account_id
           AND r.listing_id = i.listing_id AND r.field = i.field AND r.revision = i.revision
          JOIN offer_acknowledged k ON k.merchant_id = i.merchant_id
           AND k.account_id = i.account_id AND k.listing_id = i.listing_id
         WHERE i.verdict = 1 AND i.field = 1 AND i.quantity < coalesce(k.quantity, 2147483647)
         ORDER BY r.merchant_id, r.listing_id, r.field
        ON CONFLICT (merchant_id, account_id, listing_id, field) DO UPDATE
           SET recheck_us = CASE WHEN u.recheck_us = 9223372036854775807 THEN u.recheck_us
                                 ELSE excluded.recheck_us END;
    END IF;

    -- To be sent again, and unknown quantity-downs at once: a unit sold twice is the worse harm. One
    -- that was refused as a repetition goes in other company (companions).
    IF v_verdicts && ARRAY[2, 3, 4, 5]::smallint[] THEN
        INSERT INTO offer_dirty AS o (merchant_id, account_id, listing_id, field, urgency, rank,
                                      since_us, not_before_us, reassert, listings_max)
        SELECT i.merchant_id, i.account_id, i.listing_id, i.field,
               CASE WHEN i.field = 2 THEN 2
                    WHEN i.quantity < coalesce(k.quantity, 2147483647) THEN 0 ELSE 3 END,
               0, min(i.since_us), max(i.not_before_us), bool_or(i.verdict = 4),
               min(CASE i.verdict WHEN 5 THEN (i.listings + 1) / 2 ELSE i.listings_max END)
          FROM unnest(v_items) i
          JOIN offer_acknowledged k ON k.merchant_id = i.merchant_id
           AND k.account_id = i.account_id AND k.listing_id = i.listing_id
         WHERE i.verdict IN (3, 5) OR (i.verdict IN (2, 4) AND i.field = 1
                                 AND i.quantity < coalesce(k.quantity, 2147483647)
                                 -- Once: refused so again, it is looked at first.
                                 AND (i.verdict = 2 OR NOT EXISTS (
                                      SELECT 1 FROM offer_unsettled u
                                       WHERE u.merchant_id = i.merchant_id
                                         AND u.account_id = i.account_id
                                         AND u.listing_id = i.listing_id AND u.field = 1
                                         AND u.reason = 3)))
         GROUP BY i.merchant_id, i.account_id, i.listing_id, i.field, i.quantity, k.quantity
         ORDER BY i.merchant_id, i.listing_id, i.field  -- as everybody takes dirty rows
        ON CONFLICT (merchant_id, account_id, field, listing_id) DO UPDATE
           SET since_us = least(o.since_us, excluded.since_us),
               reassert = o.reassert OR excluded.reassert,
               listings_max = coalesce(excluded.listings_max, o.listings_max);
    END IF;

    -- A look that is under way began before this end: it shall judge nothing (settle_observed).
    IF v_doubted THEN
        SELECT array_agg(u.row_id) INTO v_unsettled
          FROM unnest(v_items) i
         CROSS JOIN LATERAL (
              SELECT f.ctid AS row_id FROM offer_unsettled f
               WHERE f.merchant_id = i.merchant_id AND f.account_id = i.account_id
                 AND f.listing_id = i.listing_id AND f.field = i.field
              OFFSET 0) u;
    END IF;
    IF v_unsettled IS NOT NULL THEN
        UPDATE offer_unsettled SET recheck_us = p_now_us
         WHERE ctid = ANY (v_unsettled) AND recheck_us < p_now_us;
        -- It took a push meanwhile: the next repetition is a first one.
        UPDATE offer_unsettled u SET reason = 2
          FROM unnest(v_items) i
         WHERE i.verdict = 0 AND u.merchant_id = i.merchant_id AND u.account_id = i.account_id
           AND u.listing_id = i.listing_id AND u.field = i.field AND u.reason = 3;
    END IF;

    IF v_verdicts && ARRAY[2, 4]::smallint[] THEN
        INSERT INTO offer_unsettled AS u (merchant_id, account_id, listing_id, field, recheck_us,
                                          final_us, since_us, reason)
        SELECT merchant_id, account_id, listing_id, field, max(recheck_us), max(final_us), p_now_us,
               CASE max(verdict) WHEN 4 THEN 3 ELSE 2 END
          FROM unnest(v_items) i WHERE verdict IN (2, 4)
         GROUP BY merchant_id, account_id, listing_id, field
         ORDER BY merchant_id, listing_id, field
        ON CONFLICT (merchant_id, account_id, listing_id, field) DO UPDATE
           SET recheck_us = CASE WHEN u.recheck_us = 9223372036854775807 THEN u.recheck_us
                                 ELSE excluded.recheck_us END,
               final_us = greatest(u.final_us, excluded.final_us), reason = excluded.reason,
               since_us = CASE WHEN excluded.reason = 3 AND u.reason <> 3 THEN p_now_us
                               ELSE u.since_us END;
    END IF;

    IF v_sold THEN
        -- A sale of the channel's own that fell into the push: look once more.
        INSERT INTO offer_unsettled AS u (merchant_id, account_id, listing_id, field, recheck_us,
                                          since_us, reason)
        SELECT DISTINCT i.merchant_id, i.account_id, i.listing_id, 1::smallint, p_now_us + p_skew_us,
               p_now_us, 4
          FROM unnest(v_items) i
          JOIN offer_shelf_sale z ON z.merchant_id = i.merchant_id AND z.account_id = i.account_id
           AND z.listing_id = i.listing_id
           AND z.placed_us BETWEEN i.sent_us - p_skew_us AND p_now_us + p_skew_us
         WHERE i.verdict = 0 AND i.field = 1
        ON CONFLICT (merchant_id, account_id, listing_id, field) DO UPDATE
           SET recheck_us = CASE WHEN u.recheck_us = 9223372036854775807 THEN u.recheck_us
                                 ELSE least(u.recheck_us, excluded.recheck_us) END;
        SELECT array_agg(z.row_id) INTO v_found
          FROM unnest(v_items) i
         CROSS JOIN LATERAL (
              SELECT f.ctid AS row_id FROM offer_shelf_sale f
               WHERE f.merchant_id = i.merchant_id AND f.account_id = i.account_id
                 AND f.listing_id = i.listing_id AND f.placed_us < i.sent_us - p_skew_us
              OFFSET 0) z
         WHERE i.verdict = 0 AND i.field = 1;
        IF v_found IS NOT NULL THEN
            DELETE FROM offer_shelf_sale WHERE ctid = ANY (v_found);
        END IF;
    END IF;

    -- The last open ticket of an overlap has ended: now one more look is due.
    IF v_unsettled IS NOT NULL THEN
        UPDATE offer_unsettled u SET recheck_us = p_now_us
          FROM unnest(v_items) i
         WHERE u.merchant_id = i.merchant_id AND u.account_id = i.account_id
           AND u.listing_id = i.listing_id AND u.field = i.field
           AND u.recheck_us = 9223372036854775807
           AND NOT EXISTS (SELECT 1 FROM offer_inflight f
                            WHERE f.merchant_id = u.merchant_id AND f.account_id = u.account_id
                              AND f.listing_id = u.listing_id AND f.field = u.field);
    END IF;

    -- Rows that waited for the answer may be judged again; a backoff of ours is kept. Held rows
    -- are left out for the reason given in accept_tickets.
    SELECT bool_or(EXISTS (SELECT 1 FROM offer_dirty o
                            WHERE o.merchant_id = t.merchant_id AND o.account_id = t.account_id
                              AND o.field IN (1, 2) AND o.listing_id = ANY (t.listing_ids)
                              AND o.not_before_us > 0))
      INTO v_waiting
      FROM unnest(p_merchants, p_tickets) AS x (merchant_id, ticket_id)
      JOIN ticket t ON t.merchant_id = x.merchant_id AND t.ticket_id = x.ticket_id;
    IF v_waiting THEN
        SELECT array_agg(d.row_id) INTO v_found
          FROM unnest(v_items) i
         CROSS JOIN LATERAL (
              SELECT o.ctid AS row_id FROM offer_dirty o
               WHERE o.merchant_id = i.merchant_id AND o.account_id = i.account_id
                 AND o.field = i.field AND o.listing_id = i.listing_id AND o.not_before_us > 0
                 FOR UPDATE SKIP LOCKED) d
         WHERE i.verdict <> 3;
        IF v_found IS NOT NULL THEN
            PERFORM wake_dirty(v_found);
        END IF;
    END IF;

    RETURN QUERY
    SELECT ticket_id, count(*) FILTER (WHERE verdict = 0)::integer,
           count(*) FILTER (WHERE verdict = 1)::integer,
           count(*) FILTER (WHERE verdict IN (2, 4))::integer,
           count(*) FILTER (WHERE verdict IN (3, 5))::integer
      FROM unnest(v_items) i GROUP BY ticket_id ORDER BY ticket_id;
END
$$;

-- What a look at the channel showed, for listings that were unsettled. Equal to what we want:
-- settled. Different: told again. Rows with something still in flight stay unsettled, and so do
-- those that were not due when the look began: whatever ended since may have changed the shelf
-- after it was looked at, and the look is made again. What somebody else has settled meanwhile (a
-- process that slept through its lease looks too) is left alone.
CREATE OR REPLACE FUNCTION settle_observed(
    p_merchant integer, p_account integer, p_listings bigint[], p_fields smallint[],
    p_quantities integer[], p_lists bigint[], p_sales bigint[], p_observed_us bigint, p_now_us bigint
) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    v_again integer;
BEGIN
    WITH seen AS (
        SELECT x.*, u.since_us, u.reason
          FROM unnest(p_listings, p_fields, p_quantities, p_lists, p_sales)
            AS x (listing_id, field, quantity, list_minor, sale_minor)
          JOIN offer_unsettled u
            ON u.merchant_id = p_merchant AND u.account_id = p_account
           AND u.listing_id = x.listing_id AND u.field = x.field
         WHERE u.recheck_us <= p_observed_us
           AND NOT EXISTS (SELECT 1 FROM offer_inflight f
                            WHERE f.merchant_id = p_merchant AND f.account_id = p_account
                              AND f.listing_id = x.listing_id AND f.field = x.field)
    ), judged AS (
        SELECT s.*, q.revision AS quantity_revision, p.revision AS price_revision,
               CASE s.field WHEN 1 THEN s.quantity IS NOT DISTINCT FROM q.quantity
                    ELSE (s.list_minor, s.sale_minor) IS NOT DISTINCT FROM (p.list_minor, p.sale_minor)
                    END AS is_equal
          FROM seen s
          LEFT JOIN offer_desired_quantity q ON q.merchant_id = p_merchant
           AND q.account_id = p_account AND q.listing_id = s.listing_id
          LEFT JOIN offer_desired_price p ON p.merchant_id = p_merchant
           AND p.account_id = p_account AND p.listing_id = s.listing_id
    ), settled AS (
        DELETE FROM offer_unsettled u USING judged j
         WHERE u.merchant_id = p_merchant AND u.account_id = p_account
           AND u.listing_id = j.listing_id AND u.field = j.field AND u.final_us <= p_now_us
           AND (j.is_equal OR u.reason <> 3)
    ), later AS (
        -- What was lost on the way may still be applied: look again, ever more slowly. That telling it
        -- is refused as a repetition is kept in mind until it is taken.
        UPDATE offer_unsettled u
           SET recheck_us = least(CASE WHEN u.final_us > p_now_us THEN u.final_us END,
                                  p_now_us + greatest(30000000, 3 * (p_now_us - u.since_us)))
          FROM judged j
         WHERE u.merchant_id = p_merchant AND u.account_id = p_account
           AND u.listing_id = j.listing_id AND u.field = j.field
           AND (u.final_us > p_now_us OR (u.reason = 3 AND NOT j.is_equal))
    ), equal_quantity AS (
        UPDATE offer_acknowledged k
           SET quantity = j.quantity, quantity_revision = j.quantity_revision,
               quantity_sent_us = p_observed_us, quantity_done_us = p_observed_us
          FROM judged j
         WHERE j.field = 1 AND j.is_equal AND k.merchant_id = p_merchant
           AND k.account_id = p_account AND k.listing_id = j.listing_id
           AND k.quantity_revision <= j.quantity_revision
    ), counted AS (
        -- Sales of the channel's own that the look has seen are no longer subtracted from it.
        DELETE FROM offer_shelf_sale z USING judged j
         WHERE j.field = 1 AND j.quantity IS NOT NULL AND z.merchant_id = p_merchant
           AND z.account_id = p_account AND z.listing_id = j.listing_id
           AND z.placed_us < p_observed_us - 2000000
    ), other_quantity AS (
        -- What stands there is known now, and whether telling it again lowers it.
        UPDATE offer_acknowledged k
           SET quantity = j.quantity, quantity_sent_us = p_observed_us,
               quantity_done_us = p_observed_us
          FROM judged j
         WHERE j.field = 1 AND NOT j.is_equal AND j.quantity IS NOT NULL
           AND k.merchant_id = p_merchant AND k.account_id = p_account
           AND k.listing_id = j.listing_id
    ), equal_price AS (
        UPDATE offer_acknowledged k
           SET list_minor = j.list_minor, sale_minor = j.sale_minor,
               price_revision = j.price_revision
          FROM judged j
         WHERE j.field = 2 AND j.is_equal AND k.merchant_id = p_merchant
           AND k.account_id = p_account AND k.listing_id = j.listing_id
           AND k.price_revision <= j.price_revision
    ), again AS (
        -- At once; ever more slowly where telling it again was refused as a repetition (3).
        INSERT INTO offer_dirty AS o (merchant_id, account_id, listing_id, field, urgency, rank,
                                      since_us, not_before_us, reassert)
        SELECT p_merchant, p_account, j.listing_id, j.field,
               CASE WHEN j.field = 2 THEN 2
                    WHEN q.quantity < coalesce(j.quantity, 2147483647) THEN 0 ELSE 3 END,
               0, p_now_us,
               CASE WHEN j.reason = 3 AND p_now_us - j.since_us > 15000000
                    THEN p_now_us + least(900000000, p_now_us - j.since_us) ELSE 0 END, true
          FROM judged j
          LEFT JOIN offer_desired_quantity q ON q.merchant_id = p_merchant
           AND q.account_id = p_account AND q.listing_id = j.listing_id
         WHERE NOT j.is_equal
         ORDER BY j.listing_id, j.field
        ON CONFLICT (merchant_id, account_id, field, listing_id) DO UPDATE
           SET reassert = true, urgency = least(o.urgency, excluded.urgency),
               not_before_us = least(o.not_before_us, excluded.not_before_us)
        RETURNING 1
    )
    SELECT count(*) INTO v_again FROM again;
    RETURN v_again;
END
$$;

-- A new owner: sends of older epochs that nobody answered are unknown; accepted tickets are
-- adopted and polled on.
CREATE OR REPLACE FUNCTION adopt_account(
    p_merchant integer, p_account integer, p_epoch bigint, p_recheck_us bigint, p_final_us bigint,
    p_now_us bigint, p_skew_us bigint
) RETURNS TABLE (o_ticket_id bigint, o_reference text, o_accepted_us bigint, o_items integer)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_lost bigint[];
BEGIN
    WITH taken AS (
        UPDATE ticket SET epoch = p_epoch
         WHERE merchant_id = p_merchant AND account_id = p_account AND state < 3
           AND epoch < p_epoch
        RETURNING ticket_id, state, surface
    )
    SELECT array_agg(ticket_id) INTO v_lost FROM taken WHERE state = 1 AND surface = 'offer';
    IF v_lost IS NOT NULL THEN
        PERFORM end_tickets(
            array_fill(p_merchant, ARRAY[n]), v_lost, array_fill(p_epoch, ARRAY[n]),
            array_fill(2::smallint, ARRAY[n]), array_fill('takeover'::text, ARRAY[n]),
            array_fill(''::text, ARRAY[n]), array_fill(''::text, ARRAY[n]),
            array_fill(0::bigint, ARRAY[n]), array_fill(p_recheck_us, ARRAY[n]),
            array_fill(p_final_us, ARRAY[n]),
            array_fill(NULL::bigint, ARRAY[n]), array_fill(NULL::bigint, ARRAY[n]),
            array_fill(NULL::bigint, ARRAY[n]), '{}', '{}', '{}', '{}', '{}', '{}', '{}',
            p_now_us, p_skew_us)
           FROM array_length(v_lost, 1) AS n;
    END IF;
    RETURN QUERY
    SELECT ticket_id, reference, accepted_us, array_length(listing_ids, 1) FROM ticket
     WHERE merchant_id = p_merchant AND account_id = p_account AND state = 2
       AND surface = 'offer'  -- publications are polled on by sync.listing
     ORDER BY ticket_id;
END
$$;
