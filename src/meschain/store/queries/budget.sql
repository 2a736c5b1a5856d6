-- name: borrow
-- Units of a shared quota; see functions/07_budget.sql.
SELECT o_loan, o_units, o_free_us
  FROM borrow_units(%(budget)s, %(limit)s, %(wanted)s, %(last)s, %(used)s, %(now_us)s,
                    %(occupied_us)s)

-- name: forget
-- Loans of budgets that nobody asks for any more.
DELETE FROM budget_loan WHERE free_us < %(now_us)s
