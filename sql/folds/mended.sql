-- mended: the items of a ledger file that failed before and no longer do.
delete from failures
where failures.item in (
    select item
    from said
    where mended
)
