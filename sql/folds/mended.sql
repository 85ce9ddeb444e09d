-- mended: the items that failed before and no longer do.
delete from failures
where failures.item in (
    select said.item
    from said
    where said.mended
)
