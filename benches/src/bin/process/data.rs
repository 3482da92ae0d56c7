//! The input: the flights of the example's data, repeated for year after year until there are enough rows, with some figures
//! changed, so that no part is the copy of another. The same size gives the same bytes.

use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use flate2::read::GzDecoder;

const FLIGHTS: &[u8] = include_bytes!("../../../../examples/data/nycflights13/flights.csv.gz");
const PLANES: &[u8] = include_bytes!("../../../../examples/data/nycflights13/planes.csv");
const AIRLINES: &[u8] = include_bytes!("../../../../examples/data/nycflights13/airlines.csv");

/// Positions of columns in `flights.csv`.
const YEAR: usize = 0;
const DEP_DELAY: usize = 5;
const ARR_DELAY: usize = 8;
const FLIGHT: usize = 10;
const AIR_TIME: usize = 14;
const TIME_HOUR: usize = 18;

/// Writes the flights, and the small files that they are joined with. Answers the flights' file.
pub(crate) fn write(folder: &Path, rows: usize) -> Result<PathBuf> {
    std::fs::write(folder.join("planes.csv"), PLANES)?;
    std::fs::write(folder.join("airlines.csv"), AIRLINES)?;
    let mut text = String::new();
    GzDecoder::new(FLIGHTS).read_to_string(&mut text)?;
    let mut lines = text.lines();
    let header = lines.next().context("the flights have no header")?;
    let flights: Vec<Vec<&str>> = lines.map(|line| line.split(',').collect()).collect();
    ensure!(
        flights.iter().all(|row| row.len() == TIME_HOUR + 1) && !flights.is_empty(),
        "the flights are not of the expected form"
    );
    let path = folder.join(format!("flights-{rows}.csv"));
    let mut out = BufWriter::with_capacity(1 << 20, File::create(&path)?);
    writeln!(out, "{header}")?;
    let mut noise = Noise(0x9E37_79B9_7F4A_7C15);
    for at in 0..rows {
        let row = &flights[at % flights.len()];
        write_row(&mut out, row, (at / flights.len()) as u32, &mut noise)?;
    }
    out.into_inner()?.sync_all()?;
    Ok(path)
}

fn write_row(out: &mut impl Write, row: &[&str], later: u32, noise: &mut Noise) -> Result<()> {
    for (at, cell) in row.iter().enumerate() {
        if at > 0 {
            out.write_all(b",")?;
        }
        match (at, cell.parse::<i64>()) {
            (YEAR, Ok(year)) => write!(out, "{}", year + i64::from(later))?,
            // A year of four digits for some thousands of repetitions.
            (TIME_HOUR, _) if later > 0 => {
                let (year, rest) = cell.split_at_checked(4).context("no time")?;
                write!(out, "{:04}{rest}", year.parse::<u32>()? + later)?;
            }
            (DEP_DELAY | ARR_DELAY | AIR_TIME | FLIGHT, Ok(figure)) if later > 0 => {
                write!(out, "{}", figure + noise.below(16))?;
            }
            _ => out.write_all(cell.as_bytes())?,
        }
    }
    Ok(out.write_all(b"\n")?)
}

/// A generator with a fixed seed (xorshift).
struct Noise(u64);

impl Noise {
    fn below(&mut self, limit: u64) -> i64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 32) % limit).cast_signed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_size_gives_the_same_bytes_and_as_many_rows() {
        let folder = tempfile::tempdir().unwrap();
        let first = std::fs::read(write(folder.path(), 80_000).unwrap()).unwrap();
        let second = std::fs::read(write(folder.path(), 80_000).unwrap()).unwrap();
        assert!(first == second, "two files of one size differ");
        let text = String::from_utf8(first).unwrap();
        assert_eq!(text.lines().count(), 80_001);
        let columns = |line: &str| line.split(',').count();
        assert!(text.lines().all(|line| columns(line) == TIME_HOUR + 1));
        assert!(text.lines().last().unwrap().starts_with("2014,"));
    }
}
