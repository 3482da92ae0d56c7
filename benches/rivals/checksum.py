"""Prints the number of rows of a Parquet file and a checksum of them, whatever their order: checksum.py FILE

Whole numbers are whole numbers of any width here, and points in time are microseconds: the programs choose types that differ
in this and mean the same.
"""

import sys

import duckdb


def plain(name, kind):
    quoted = f'"{name}"'
    if kind.startswith("TIMESTAMP"):
        return f"epoch_us({quoted})::VARCHAR"
    return f"{quoted}::VARCHAR"


def main(path):
    db = duckdb.connect()
    columns = db.execute("SELECT column_name, column_type FROM (DESCRIBE FROM read_parquet(?))", [path])
    names = sorted((name, plain(name, kind)) for name, kind, *_ in columns.fetchall())
    row = ", ".join(f"coalesce({text}, '\\N')" for _, text in names)
    query = f"SELECT count(*), sum(hash(concat_ws('|', {row}))::HUGEINT) FROM read_parquet(?)"
    rows, checksum = db.execute(query, [path]).fetchone()
    print(rows, checksum, ",".join(name for name, _ in names))


if __name__ == "__main__":
    main(*sys.argv[1:])
