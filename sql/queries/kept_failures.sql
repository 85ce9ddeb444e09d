-- kept_failures: one row per time that an item failed, of which the first and the last are known.
select
    failures.* exclude (attempts, first_at, last_at),
    false as mended,
    case attempt when 1 then failures.first_at else failures.last_at end as seen_at
from failures, unnest(range(1, failures.attempts + 1)) as attempts (attempt)
where failures.stage <> 'ledger'
