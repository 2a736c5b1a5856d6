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

-- Claim dirty rows for many lanes. Statement 1 (per lane) locks and deletes; statement 2 reads the
-- desired values under a fresh snapshot (a volatile function takes one per statement in READ
-- COMMITTED). Reading them in the statement that deletes would read values older than a change
-- whose dirty row has just been deleted: that change would be lost.
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
    v_pairs boolean;
    i integer;
BEGIN
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
    v_pairs := true = ANY (p_joint) OR EXISTS (SELECT 1 FROM unnest(v_rows) r WHERE r.reassert);

    RETURN QUERY
    WITH lane AS (
        SELECT * FROM unnest(p_merchants, p_accounts, p_batches, p_up, p_ordered, p_joint, p_epochs)
            AS x (merchant_id, account_id, batch, may_rise, is_ordered, is_joint, epoch)
    ), claimed AS (
        SELECT d.* FROM unnest(v_rows) AS d
        UNION ALL
        -- A marketplace that demands all fields: the other one is read in the same claim. So is the
        -- price beside a quantity that is told again: some refuse the very body they have had.
        SELECT d.merchant_id, d.account_id, d.listing_id, (3 - d.field)::smallint, d.urgency, d.rank,
               d.since_us, 0::bigint, true
          FROM (SELECT r.*, count(*) OVER (PARTITION BY r.merchant_id, r.account_id,
                                                        r.listing_id) AS fields
                  FROM unnest(v_rows) AS r WHERE v_pairs) AS d
          JOIN lane USING (merchant_id, account_id)
         WHERE d.fields = 1 AND (lane.is_joint OR (d.reassert AND d.field = 1))
    ), looked AS (
        SELECT c.*, lane.batch, lane.epoch, lane.may_rise, key.push_key,
               CASE c.field WHEN 1 THEN q.revision ELSE p.revision END AS revision,
               q.quantity, p.list_minor, p.sale_minor, p.floor_minor,
               k.quantity AS shelf_quantity,
               CASE c.field WHEN 1 THEN k.quantity_revision ELSE k.price_revision END AS acknowledged,
               l.state IN ('on_sale', 'off_sale') AS is_pushable,
               coalesce(f.is_unanswered, false) AS is_unanswered,
               coalesce(f.is_open, false) AND NOT lane.is_ordered AS must_wait,
               f.least_quantity, f.greatest_quantity, coalesce(f.newest, 0) AS newest_sent,
               f.is_open, s.units AS own_units, s.is_ambiguous,
               EXISTS (SELECT 1 FROM offer_unsettled u
                        WHERE u.merchant_id = c.merchant_id AND u.account_id = c.account_id
                          AND u.listing_id = c.listing_id AND u.field = c.field) AS is_unsettled
          FROM claimed c
          JOIN lane USING (merchant_id, account_id)
          JOIN listing l ON l.merchant_id = c.merchant_id AND l.listing_id = c.listing_id
          JOIN listing_key key ON key.merchant_id = c.merchant_id
           AND key.account_id = c.account_id AND key.listing_id = c.listing_id
          JOIN offer_acknowledged k ON k.merchant_id = c.merchant_id
           AND k.account_id = c.account_id AND k.listing_id = c.listing_id
          -- The field stands inside the key, so that the other table is not even asked.
          LEFT JOIN offer_desired_quantity q ON q.merchant_id = c.merchant_id
           AND q.account_id = c.account_id
           AND q.listing_id = CASE c.field WHEN 1 THEN c.listing_id END
          LEFT JOIN offer_desired_price p ON p.merchant_id = c.merchant_id
           AND p.account_id = c.account_id
           AND p.listing_id = CASE c.field WHEN 2 THEN c.listing_id END
          LEFT JOIN LATERAL (
              SELECT bool_or(t.state = 1) AS is_unanswered, bool_or(t.state = 2) AS is_open,
                     min(i.quantity) AS least_quantity, max(i.quantity) AS greatest_quantity,
                     max(i.revision) AS newest
                FROM offer_inflight i
               CROSS JOIN LATERAL (SELECT x.state FROM ticket x
                                    WHERE x.merchant_id = i.merchant_id
                                      AND x.ticket_id = i.ticket_id OFFSET 0) t
               WHERE i.merchant_id = c.merchant_id AND i.account_id = c.account_id
                 AND i.listing_id = c.listing_id AND i.field = c.field
          ) f ON true
          LEFT JOIN LATERAL (
              -- Placed clearly after our last push stood: the channel lowered its shelf by these.
              -- Placed about when it was on its way: nobody can say, so the shelf is told again.
              SELECT sum(z.units) FILTER (WHERE z.placed_us > k.quantity_done_us + p_skew_us)::integer
                         AS units,
                     bool_or(z.placed_us BETWEEN k.quantity_sent_us - p_skew_us
                                             AND k.quantity_done_us + p_skew_us) AS is_ambiguous
                FROM offer_shelf_sale z
               WHERE c.field = 1 AND NOT c.reassert AND z.merchant_id = c.merchant_id
                 AND z.account_id = c.account_id AND z.listing_id = c.listing_id
          ) s ON true
    ), judged AS (
        SELECT *, CASE
            WHEN revision IS NULL OR NOT is_pushable THEN 'drop'
            WHEN NOT reassert AND (acknowledged >= revision OR newest_sent >= revision) THEN 'drop'
            -- Strictly one after the other per listing: an unanswered request is never overtaken.
            WHEN is_unanswered THEN 'wait'
            WHEN must_wait AND NOT (field = 1 AND quantity < least_quantity) THEN 'wait'
            WHEN field = 1 AND NOT coalesce(is_open, false) AND own_units > 0
                 AND NOT is_ambiguous AND NOT is_unsettled
                 AND shelf_quantity - own_units = quantity THEN 'expected'
            -- Lower than what stands there or is on its way there may always go. All else could
            -- put back a unit whose sale is not known yet.
            WHEN field = 1 AND NOT may_rise
                 AND quantity >= greatest(coalesce(shelf_quantity - coalesce(own_units, 0), -1),
                                          coalesce(greatest_quantity, -1)) THEN 'rise'
            ELSE 'send' END AS verdict
          FROM looked
    ), back AS (
        -- Waiting rows are woken by the answer; the time is only the net beneath.
        INSERT INTO offer_dirty AS o (merchant_id, account_id, listing_id, field, urgency, rank,
                                      since_us, not_before_us, reassert)
        SELECT merchant_id, account_id, listing_id, field,
               CASE verdict WHEN 'rise' THEN 3 ELSE urgency END, rank, since_us,
               CASE verdict WHEN 'wait' THEN p_now_us + 2000000 ELSE 0 END, reassert
          FROM judged WHERE verdict IN ('wait', 'rise')
         ORDER BY merchant_id, listing_id, field  -- as everybody takes dirty rows
        ON CONFLICT (merchant_id, account_id, field, listing_id) DO UPDATE
           SET since_us = least(o.since_us, excluded.since_us),
               reassert = o.reassert OR excluded.reassert
    ), expected AS (
        -- The channel did it itself: nothing to send, the shelf stands where we want it.
        UPDATE offer_acknowledged k
           SET quantity = j.quantity, quantity_revision = j.revision
          FROM judged j
         WHERE j.verdict = 'expected' AND k.merchant_id = j.merchant_id
           AND k.account_id = j.account_id AND k.listing_id = j.listing_id
        RETURNING k.merchant_id, k.account_id, k.listing_id, k.quantity_done_us
    ), counted AS (
        DELETE FROM offer_shelf_sale z USING expected e
         WHERE z.merchant_id = e.merchant_id AND z.account_id = e.account_id
           AND z.listing_id = e.listing_id
    ), numbered AS (
        SELECT *, dense_rank() OVER (ORDER BY merchant_id, account_id, request) AS place
          FROM (SELECT *, (dense_rank() OVER (PARTITION BY merchant_id, account_id
                                              ORDER BY first_urgency, first_rank, listing_id) - 1)
                              / batch AS request
                  FROM (SELECT *, min(urgency) OVER w AS first_urgency, min(rank) OVER w AS first_rank
                          FROM judged WHERE verdict = 'send'
                        WINDOW w AS (PARTITION BY merchant_id, account_id, listing_id)) n) r
    ), request AS (
        SELECT merchant_id, account_id, place, epoch, nextval('ticket_id_seq') AS ticket_id,
               listing_ids
          FROM (SELECT merchant_id, account_id, place, epoch,
                       array_agg(DISTINCT listing_id) AS listing_ids
                  FROM numbered GROUP BY merchant_id, account_id, place, epoch) r
    ), tickets AS (
        -- By place: looked up below instead of joined, as there may be hundreds of requests.
        SELECT array_agg(ticket_id ORDER BY place) AS ids FROM request
    ), opened AS (
        INSERT INTO ticket (merchant_id, ticket_id, account_id, surface, epoch, state, listing_ids,
                            send_by_us, claimed_us)
        SELECT merchant_id, ticket_id, account_id, 'offer', epoch, 1, listing_ids, p_send_by_us,
               p_now_us
          FROM request
    ), sent AS (
        INSERT INTO offer_inflight (merchant_id, account_id, listing_id, field, ticket_id, revision,
                                    quantity, list_minor, sale_minor, floor_minor, since_us)
        SELECT n.merchant_id, n.account_id, n.listing_id, n.field, (SELECT ids FROM tickets)[n.place],
               n.revision, n.quantity, n.list_minor, n.sale_minor, n.floor_minor, n.since_us
          FROM numbered n
    ), overlapping AS (
        INSERT INTO offer_unsettled AS u (merchant_id, account_id, listing_id, field, recheck_us,
                                          since_us, reason)
        SELECT merchant_id, account_id, listing_id, field, 9223372036854775807, p_now_us, 1
          FROM numbered WHERE is_open
         ORDER BY merchant_id, listing_id, field
        -- An older doubt waits for these tickets too, whenever its own next look would be.
        ON CONFLICT (merchant_id, account_id, listing_id, field) DO UPDATE
           SET recheck_us = excluded.recheck_us
    )
    SELECT (SELECT ids FROM tickets)[n.place], n.merchant_id, n.account_id, n.listing_id,
           min(n.push_key), max(n.quantity), max(n.list_minor), max(n.sale_minor),
           max(n.floor_minor), min(n.urgency), min(n.since_us)
      FROM numbered n
     GROUP BY n.place, n.merchant_id, n.account_id, n.listing_id
     ORDER BY 1, n.listing_id;
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
     CROSS JOIN LATERAL unnest(t.listing_ids) AS w (listing_id)
     CROSS JOIN LATERAL (
          SELECT o.ctid AS row_id FROM offer_dirty o
           WHERE o.merchant_id = t.merchant_id AND o.account_id = t.account_id
             AND o.field IN (1, 2) AND o.listing_id = w.listing_id AND o.not_before_us > 0
             FOR UPDATE SKIP LOCKED) d;
    IF v_found IS NOT NULL THEN
        PERFORM wake_dirty(v_found);
    END IF;
END
$$;

DROP TYPE IF EXISTS ended_item;
-- An item of an ended ticket, as end_tickets passes it from statement to statement.
CREATE TYPE ended_item AS (
    merchant_id integer, account_id integer, listing_id bigint, field smallint,
    ticket_id bigint, revision bigint, quantity integer, list_minor bigint, sale_minor bigint,
    floor_minor bigint, since_us bigint, sent_us bigint, verdict smallint, code text,
    words text, advice text, not_before_us bigint, recheck_us bigint, final_us bigint
);

-- End tickets: every item ends as done (0), refused (1), unknown (2), to be sent again (3) or
-- unknown with evidence that it arrived (4: look before anything else). Each ticket has a verdict
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
               outcome = (ARRAY['done', 'refused', 'unknown', 'again', 'unknown'])[x.verdict + 1]
          FROM x
         WHERE t.merchant_id = x.merchant_id AND t.ticket_id = x.ticket_id AND t.epoch = x.epoch
           AND t.state < 3
        RETURNING t.merchant_id, t.account_id, t.ticket_id, t.listing_ids, t.released_us,
                  x.verdict, x.code, x.words, x.advice, x.not_before_us, x.recheck_us, x.final_us
    )
    SELECT array_agg(ROW(i.merchant_id, i.account_id, i.listing_id, i.field, i.ticket_id, i.revision,
                         i.quantity, i.list_minor, i.sale_minor, i.floor_minor, i.since_us,
                         coalesce(e.released_us, p_now_us), coalesce(x.verdict, e.verdict),
                         coalesce(x.code, e.code, ''), coalesce(x.words, e.words, ''),
                         coalesce(x.advice, e.advice, ''), e.not_before_us, e.recheck_us,
                         e.final_us)::ended_item),
           array_agg(DISTINCT coalesce(x.verdict, e.verdict)), array_agg(i.row_id)
      INTO v_items, v_verdicts, v_found
      FROM ended e
     CROSS JOIN LATERAL unnest(e.listing_ids) AS u (listing_id)
     CROSS JOIN LATERAL (
          SELECT f.ctid AS row_id, f.* FROM offer_inflight f
           WHERE f.merchant_id = e.merchant_id AND f.account_id = e.account_id
             AND f.listing_id = u.listing_id AND f.field IN (1, 2) AND f.ticket_id = e.ticket_id
          OFFSET 0) i
      LEFT JOIN unnest(x_tickets, x_listings, x_fields, x_verdicts, x_codes, x_words, x_advice)
             AS x (ticket_id, listing_id, field, verdict, code, words, advice)
        ON x.ticket_id = i.ticket_id AND x.listing_id = i.listing_id
       AND (x.field = 0 OR x.field = i.field);
    IF v_items IS NULL THEN
        RETURN;
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

    IF 1 = ANY (v_verdicts) THEN
        INSERT INTO offer_refusal AS r (merchant_id, account_id, listing_id, field, revision, code,
                                        words, advice, refused_us)
        SELECT DISTINCT ON (merchant_id, account_id, listing_id, field)
               merchant_id, account_id, listing_id, field, revision, code, words, advice, p_now_us
          FROM unnest(v_items) i WHERE verdict = 1
         ORDER BY merchant_id, account_id, listing_id, field, revision DESC
        ON CONFLICT (merchant_id, account_id, listing_id, field) DO UPDATE
           SET revision = excluded.revision, code = excluded.code, words = excluded.words,
               advice = excluded.advice, refused_us = excluded.refused_us,
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

    -- To be sent again, and unknown quantity-downs at once: a unit sold twice is the worse harm.
    IF v_verdicts && ARRAY[2, 3]::smallint[] THEN
        INSERT INTO offer_dirty AS o (merchant_id, account_id, listing_id, field, urgency, rank,
                                      since_us, not_before_us)
        SELECT i.merchant_id, i.account_id, i.listing_id, i.field,
               CASE WHEN i.field = 2 THEN 2
                    WHEN i.quantity < coalesce(k.quantity, 2147483647) THEN 0 ELSE 3 END,
               0, min(i.since_us), max(i.not_before_us)
          FROM unnest(v_items) i
          JOIN offer_acknowledged k ON k.merchant_id = i.merchant_id
           AND k.account_id = i.account_id AND k.listing_id = i.listing_id
         WHERE i.verdict = 3 OR (i.verdict = 2 AND i.field = 1
                                 AND i.quantity < coalesce(k.quantity, 2147483647))
         GROUP BY i.merchant_id, i.account_id, i.listing_id, i.field, i.quantity, k.quantity
         ORDER BY i.merchant_id, i.listing_id, i.field  -- as everybody takes dirty rows
        ON CONFLICT (merchant_id, account_id, field, listing_id) DO UPDATE
           SET since_us = least(o.since_us, excluded.since_us);
    END IF;

    -- A look that is under way began before this end: it shall judge nothing (settle_observed).
    SELECT array_agg(u.row_id) INTO v_unsettled
      FROM unnest(v_items) i
     CROSS JOIN LATERAL (
          SELECT f.ctid AS row_id FROM offer_unsettled f
           WHERE f.merchant_id = i.merchant_id AND f.account_id = i.account_id
             AND f.listing_id = i.listing_id AND f.field = i.field
          OFFSET 0) u;
    IF v_unsettled IS NOT NULL THEN
        UPDATE offer_unsettled SET recheck_us = p_now_us
         WHERE ctid = ANY (v_unsettled) AND recheck_us < p_now_us;
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

    RETURN QUERY
    SELECT ticket_id, count(*) FILTER (WHERE verdict = 0)::integer,
           count(*) FILTER (WHERE verdict = 1)::integer,
           count(*) FILTER (WHERE verdict IN (2, 4))::integer,
           count(*) FILTER (WHERE verdict = 3)::integer
      FROM unnest(v_items) i GROUP BY ticket_id ORDER BY ticket_id;
END
$$;

-- What a look at the channel showed, for listings that were unsettled. Equal to what we want:
-- settled. Different: told again. Rows with something still in flight stay unsettled, and so do
-- those that were not due when the look began: whatever ended since may have changed the shelf
-- after it was looked at, and the look is made again.
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
          LEFT JOIN offer_unsettled u
            ON u.merchant_id = p_merchant AND u.account_id = p_account
           AND u.listing_id = x.listing_id AND u.field = x.field
         WHERE (u.recheck_us > p_observed_us) IS NOT TRUE
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
    ), later AS (
        -- What was lost on the way may still be applied: look again, ever more slowly.
        UPDATE offer_unsettled u
           SET recheck_us = least(u.final_us,
                                  p_now_us + greatest(30000000, 3 * (p_now_us - u.since_us)))
          FROM judged j
         WHERE u.merchant_id = p_merchant AND u.account_id = p_account
           AND u.listing_id = j.listing_id AND u.field = j.field AND u.final_us > p_now_us
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
    UPDATE ticket SET epoch = p_epoch
     WHERE merchant_id = p_merchant AND account_id = p_account AND state < 3 AND epoch < p_epoch;
    SELECT array_agg(ticket_id) INTO v_lost FROM ticket
     WHERE merchant_id = p_merchant AND account_id = p_account AND state = 1 AND surface = 'offer';
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
