-- retired(slide, its Case, its Patient): whether one of the three was taken out; of what was erased,
-- a tombstone has the sha256.
create or replace macro retired(slide, its_case, its_patient) as
    ('slide', slide) in (select (kind, name) from tombstones)
    or ('case', its_case) in (select (kind, name) from tombstones)
    or ('patient', its_patient) in (select (kind, name) from tombstones)
    or case
        when (select count(*) filter (erase) from tombstones) = 0 then false
        else ('slide', 'sha256:' || sha256(slide)) in (select (kind, name) from tombstones)
            or ('case', 'sha256:' || sha256(its_case)) in (select (kind, name) from tombstones)
            or ('patient', 'sha256:' || sha256(its_patient)) in (select (kind, name) from tombstones)
    end
