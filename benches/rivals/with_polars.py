"""polars at the same work: with_polars.py THREADS (copy | join) FOLDER ROWS"""

import os
import sys

# Read when the library is loaded.
os.environ["POLARS_MAX_THREADS"] = sys.argv[1]

import polars as pl  # noqa: E402

TEXTS = ["carrier", "tailnum", "origin", "dest"]
ORDER = (
    "year month day dep_time sched_dep_time dep_delay arr_time sched_arr_time arr_delay carrier "
    "flight tailnum origin dest air_time distance hour minute time_hour"
).split()
SCHEMA = {name: pl.String if name in TEXTS else pl.Int64 for name in ORDER}
SCHEMA["time_hour"] = pl.String
NULLS = ["NA", ""]


def save(frame, path):
    frame.sink_parquet(path, compression="zstd", compression_level=1)


def main(work, folder, rows):
    if work == "copy":
        flights = pl.scan_csv(f"{folder}/flights-{rows}.csv", schema=SCHEMA, null_values=NULLS)
        time = pl.col("time_hour").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_unit="us")
        save(flights.with_columns(time), f"{folder}/copy-polars.parquet")
    else:
        flights = pl.scan_parquet(f"{folder}/flights-{rows}.parquet")
        airlines = pl.scan_csv(f"{folder}/airlines.csv").rename({"name": "carrier_name"})
        planes = pl.scan_csv(f"{folder}/planes.csv", null_values=NULLS)
        joined = flights.join(airlines, on="carrier").join(
            planes.select("tailnum", "manufacturer", "seats"), on="tailnum", how="left"
        )
        grouped = joined.group_by("month", "carrier_name", "manufacturer").agg(
            pl.len().cast(pl.Int64).alias("flights"),
            # Of nothing but nulls SQL's sum is null, and polars' is 0.
            pl.when(pl.col("arr_delay").count() > 0).then(pl.col("arr_delay").sum()).alias("arr_delay"),
            pl.col("distance").max(),
            pl.when(pl.col("seats").count() > 0).then(pl.col("seats").sum()).alias("seats"),
        )
        save(grouped, f"{folder}/join-polars.parquet")


if __name__ == "__main__":
    main(*sys.argv[2:])
