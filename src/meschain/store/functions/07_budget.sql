-- Lend units of a shared quota: at most what is wanted, and half of what is free, for others ask too.
-- p_last and p_used: the loan before, of which the rest is free again; to say so twice changes
-- nothing. One at a time a budget.
-- o_units 0: some are free at o_free_us.
CREATE OR REPLACE FUNCTION borrow_units(
    p_budget text, p_limit integer, p_wanted integer, p_last bigint, p_used integer,
    p_now_us bigint, p_occupied_us bigint
) RETURNS TABLE (o_loan bigint, o_units integer, o_free_us bigint) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('meschain budget ' || p_budget, 0));
    -- Free again: what was not used, and what has served its time. A loan that ends long after this
    -- one would was made by a clock that has been set back since.
    DELETE FROM budget_loan
     WHERE budget = p_budget
       AND (free_us <= p_now_us OR free_us > p_now_us + p_occupied_us + 60000000
            OR (loan_id = p_last AND p_used = 0));
    UPDATE budget_loan SET units = least(units, p_used)
     WHERE budget = p_budget AND loan_id = p_last AND p_used > 0;
    SELECT greatest(0, least(p_wanted, (p_limit - coalesce(sum(l.units), 0) + 1) / 2)), min(l.free_us)
      INTO o_units, o_free_us
      FROM budget_loan l WHERE l.budget = p_budget;
    o_loan := 0;
    IF o_units > 0 THEN
        o_free_us := p_now_us + p_occupied_us;
        INSERT INTO budget_loan (budget, units, free_us) VALUES (p_budget, o_units, o_free_us)
        RETURNING loan_id INTO o_loan;
    END IF;
    RETURN NEXT;
END
$$;
