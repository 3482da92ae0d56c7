"""DuckDB at the same work: with_duckdb.py THREADS (copy | join) FOLDER ROWS"""

import sys

import duckdb

INTEGERS = (
    "year month day dep_time sched_dep_time dep_delay arr_time sched_arr_time arr_delay "
    "flight air_time distance hour minute"
).split()
ORDER = (
    "year month day dep_time sched_dep_time dep_delay arr_time sched_arr_time arr_delay carrier "
    "flight tailnum origin dest air_time distance hour minute time_hour"
).split()


def type_of(column):
    if column == "time_hour":
        return "TIMESTAMP"
    return "BIGINT" if column in INTEGERS else "VARCHAR"


COLUMNS = "{" + ", ".join(f"'{name}': '{type_of(name)}'" for name in ORDER) + "}"
OPTIONS = "FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1"

JOIN = """
    SELECT f.month, a.name AS carrier_name, p.manufacturer, count(*) AS flights,
           sum(f.arr_delay)::BIGINT AS arr_delay, max(f.distance) AS distance, sum(p.seats)::BIGINT AS seats
    FROM '{flights}' f
    JOIN read_csv('{folder}/airlines.csv') a ON a.carrier = f.carrier
    LEFT JOIN read_csv('{folder}/planes.csv', nullstr = ['NA', '']) p ON p.tailnum = f.tailnum
    GROUP BY f.month, a.name, p.manufacturer
"""


def main(threads, work, folder, rows):
    db = duckdb.connect()
    db.execute(f"SET threads = {threads}")
    db.execute("SET preserve_insertion_order = false")
    if work == "copy":
        source = (
            f"read_csv('{folder}/flights-{rows}.csv', header = true, delim = ',', quote = '\"', "
            f"nullstr = ['NA', ''], columns = {COLUMNS})"
        )
        db.execute(f"COPY (FROM {source}) TO '{folder}/copy-duckdb.parquet' ({OPTIONS})")
    else:
        query = JOIN.format(folder=folder, flights=f"{folder}/flights-{rows}.parquet")
        db.execute(f"COPY ({query}) TO '{folder}/join-duckdb.parquet' ({OPTIONS})")


if __name__ == "__main__":
    main(*sys.argv[1:])
