-- relations: one row per table or view that people ask, with what one row of it is.
with said (place, relation, one_row) as (
    values
        (1, 'slide_overview', 'a Slide, with its Label, quality and Embeddings'),
        (2, 'bags', 'a Slide, Tiling and Encoder with tiles; what --where is about'),
        (3, 'cohort_bags', 'a Slide, Tiling and Encoder of a Cohort, with the frozen Label and split'),
        (4, 'cases', 'a Case: one biopsy procedure of a Patient'),
        (5, 'slides', 'a Slide, as its file and the manifest describe it'),
        (6, 'reports', 'a Report that was seen: its hash and date, never its text'),
        (7, 'labels', 'a Label ever given'),
        (8, 'best_labels', 'the Label to use of a Case and Target: human, agreed, ollama, rules'),
        (9, 'cohorts', 'a Cohort'),
        (10, 'cohort_slides', 'a Slide of a Cohort, with its Label and split'),
        (11, 'runs', 'a Run'),
        (12, 'metrics', 'a metric of a Run and split'),
        (13, 'predictions', 'a Prediction of a Run for a Slide'),
        (14, 'tilings', 'a Tiling: tile size, mpp and tissue filter'),
        (15, 'encoders', 'an Encoder: name, weights and identity'),
        (16, 'embeddings', 'an array of Embeddings of a Slide'),
        (17, 'failures', 'a Slide, Report or ledger file that could not be read, and why')
)

select
    said.relation,
    said.one_row,
    list(columns.column_name order by columns.column_index) as columns
from said
join duckdb_columns() as columns
    on
        columns.table_name = said.relation
        and columns.database_name = current_database()
group by said.place, said.relation, said.one_row
order by said.place
