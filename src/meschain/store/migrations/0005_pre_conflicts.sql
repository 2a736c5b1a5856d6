-- Edits on a marketplace's own panel: seen, confirmed, and settled by a rule per field.

-- A listing that shows what neither we nor its own sales put there. Seen once is not believed yet.
CREATE TABLE offer_conflict (
    merchant_id      integer NOT NULL,
    account_id       integer NOT NULL,
    listing_id       bigint NOT NULL,
    field            smallint NOT NULL CHECK (field IN (1, 2)),  -- as in offer_dirty
    state            smallint NOT NULL CHECK (state IN (1, 2)),  -- 1 seen once · 2 waits for its owner
    revision         bigint NOT NULL,      -- desired when it was seen: a newer price is new input
    acknowledged     bigint NOT NULL,      -- and acknowledged: a later push begins the doubt anew
    sent_us          bigint NOT NULL,      -- quantity_sent_us then, for the same reason
    our_quantity     integer,
    our_list_minor   bigint,
    our_sale_minor   bigint,
    their_quantity   integer,
    their_list_minor bigint,
    their_sale_minor bigint,
    first_us         bigint NOT NULL,
    seen_us          bigint NOT NULL,      -- the latest look that showed it
    look_us          bigint NOT NULL,      -- state 1: the next look
    PRIMARY KEY (merchant_id, account_id, listing_id, field)
);

ALTER TABLE offer_conflict ENABLE ROW LEVEL SECURITY;
ALTER TABLE offer_conflict FORCE ROW LEVEL SECURITY;
CREATE POLICY one_merchant ON offer_conflict TO meschain_app
    USING (merchant_id = nullif(current_setting('meschain.merchant_id', true), '')::integer);
CREATE POLICY engine ON offer_conflict TO meschain_engine USING (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON offer_conflict TO meschain_app, meschain_engine;

-- Who wins, and how often the whole catalog is read back.
ALTER TABLE account
    ADD COLUMN price_rule text NOT NULL DEFAULT 'ask'
        CHECK (price_rule IN ('hub', 'channel', 'ask')),
    ADD COLUMN quantity_rule text NOT NULL DEFAULT 'hub'
        CHECK (quantity_rule IN ('hub', 'channel', 'ask')),
    ADD COLUMN sweep_interval_s integer NOT NULL DEFAULT 86400 CHECK (sweep_interval_s >= 60);

-- What was kept of the channel's: a price of the listing's own, and the maximum that its panel set.
ALTER TABLE listing
    ADD COLUMN list_price_minor bigint CHECK (list_price_minor >= 0),
    ADD COLUMN sale_price_minor bigint CHECK (sale_price_minor >= 0),
    ADD COLUMN price_kept_us bigint,        -- NULL: the variant's price
    ADD COLUMN price_kept_by text,          -- 'rule' or who decided
    ADD COLUMN quantity_max_before integer, -- what dropping the kept maximum brings back
    ADD COLUMN quantity_kept_us bigint,     -- NULL: quantity_max is no panel's
    ADD COLUMN quantity_kept_by text;

-- A sweep that is under way goes on where it was, also after a restart.
ALTER TABLE sweep
    ADD COLUMN next_token text,
    ADD COLUMN pages integer NOT NULL DEFAULT 0,
    ADD COLUMN expected integer NOT NULL DEFAULT 0,   -- listings to meet
    ADD COLUMN conflicts integer NOT NULL DEFAULT 0;
CREATE INDEX sweep_account ON sweep (merchant_id, account_id, sweep_id);
