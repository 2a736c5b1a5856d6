-- What the page and the reports ask for often.
ALTER TABLE sweep ADD COLUMN moving integer NOT NULL DEFAULT 0;
CREATE INDEX webhook_inbox_waiting ON webhook_inbox (merchant_id, account_id, inbox_id)
    WHERE handled_us IS NULL;
CREATE INDEX listing_with_problems ON listing (merchant_id, listing_id)
    WHERE state IN ('rejected', 'locked') OR problems <> '[]';

-- The list of merchants, for commands that ask which there are: the owner reads all of them, also
-- where it is no superuser.
CREATE POLICY owner_reads ON merchant FOR SELECT TO CURRENT_USER USING (true);

-- How often the same revision was refused; a shelf that shows too much is told again, more slowly.
ALTER TABLE offer_refusal ADD COLUMN tries integer NOT NULL DEFAULT 1;
