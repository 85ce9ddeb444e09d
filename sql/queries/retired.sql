-- retired: one row per tombstone of the $kind of id $id: its own, and that of the Case or Patient it is of.
with things as (
    select
        'slide' as of_kind,
        slides.slide_id as id,
        slides.slide_id,
        slides.case_id,
        cases.patient_id
    from slides
    left join cases
        on cases.case_id = slides.case_id
    union all
    select
        'case' as of_kind,
        case_id as id,
        null as slide_id,
        case_id,
        patient_id
    from cases
    union all
    select distinct
        'patient' as of_kind,
        patient_id as id,
        null as slide_id,
        null as case_id,
        patient_id
    from cases
)

select
    tombstones.kind,
    tombstones.name,
    tombstones.recorded_at
from things
inner join tombstones
    on
        (tombstones.kind, tombstones.name) in (
            ('slide', things.slide_id), ('case', things.case_id), ('patient', things.patient_id)
        )
where
    things.of_kind = $kind
    and things.id = $id
