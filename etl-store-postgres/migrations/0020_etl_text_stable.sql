-- As it is: to_char is STABLE, and a function that says more of itself than what it calls is not inlined. Every time of every row that is
-- read goes through it.
CREATE OR REPLACE FUNCTION etl_text(at timestamptz) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE RETURNS NULL ON NULL INPUT AS
$$ SELECT to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') $$;
