-- out_of_fold: one row per Slide and seed that left it out: the Runs of the cross-validation of $run,
-- which differ from it in fold and seed alone; a Run without folds left out its test Slides. Of Runs
-- of one fold and seed $run itself counts, else the latest.
with own as (
    select
        runs.*,
        json_merge_patch(config, '{"fold": null, "seed": null}') as alike
    from runs
    where run_id = $run
),

once as (
    select
        runs.run_id,
        runs.seed,
        runs.fold
    from runs
    inner join own on own.cohort = runs.cohort
        and own.encoder_id = runs.encoder_id
        and own.tiling_id = runs.tiling_id
        and own.alike = json_merge_patch(runs.config, '{"fold": null, "seed": null}')
    qualify row_number() over (
        partition by runs.fold, runs.seed
        order by runs.run_id = own.run_id desc, runs.started_at desc, runs.run_id desc
    ) = 1
)

select
    predictions.slide_id,
    once.fold,
    once.seed,
    once.run_id,
    predictions.label,
    predictions.mean,
    predictions.std
from once
inner join predictions on predictions.run_id = once.run_id and predictions.split = 'test'
order by predictions.slide_id, once.seed, once.run_id
