-- retired(slide, its Case, its Patient): whether one of the three was taken out.
create or replace macro retired(slide, its_case, its_patient) as
    slide in (
        select name
        from tombstones
        where kind = 'slide'
    )
    or its_case in (
        select name
        from tombstones
        where kind = 'case'
    )
    or its_patient in (
        select name
        from tombstones
        where kind = 'patient'
    )
