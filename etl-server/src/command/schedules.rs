//! `etl schedules`: schedules, what they will fire and why a day is left out; pausing them.

use std::collections::BTreeSet;

use etl_core::contract::Store;
use etl_core::model::{PageRequest, Schedule, Timestamp};
use etl_core::schedule::{Fate, Planned, Timetable};
use serde_json::{Value, json};

use super::pipeline_of;
use crate::args::SchedulesArgs;
use crate::config::Config;
use crate::deployment;
use crate::failure::{Exit, Failure};
use crate::view::{print, print_json, say, table};

/// So many nominal times are looked at for each fire that is shown: one may be left out again and again.
const LOOKED_AT: usize = 50;
/// How many of the last fires are shown.
const LAST_FIRES: usize = 10;
/// Local times for people.
const LOCAL: &str = "%a %Y-%m-%d %H:%M:%S %:z";

pub(crate) async fn execute(config: &Config, args: &SchedulesArgs) -> Result<Exit, Failure> {
    let Some(name) = &args.name else {
        return list(config, args.json).await;
    };
    if args.pause || args.resume {
        let store = deployment::manage(config).await?;
        let shown = steer(&**store.store(), name, args).await;
        store.close().await;
        return shown;
    }
    let store = deployment::look(config).await?;
    let shown = show(&**store.store(), name, args).await;
    store.close().await;
    shown
}

async fn list(config: &Config, as_json: bool) -> Result<Exit, Failure> {
    let mut schedules = Vec::new();
    match deployment::look_if_there(config).await? {
        None => say("note: there is no database yet; `etl apply DIR` makes it"),
        Some(store) => {
            let mut page = PageRequest::first(500);
            loop {
                let answer = store.store().schedules(&page).await?;
                schedules.extend(answer.items);
                match answer.next_cursor {
                    Some(cursor) => page.cursor = Some(cursor),
                    None => break,
                }
            }
            store.close().await;
        }
    }
    if as_json {
        let items: Vec<_> = schedules.iter().map(document).collect();
        print_json(&json!({ "items": items, "next_cursor": null }))?;
        return Ok(Exit::Success);
    }
    let mut table = table([
        "pipeline",
        "schedule",
        "timezone",
        "state",
        "next fire",
        "last fire",
    ]);
    for schedule in &schedules {
        let timetable = Timetable::of(&schedule.document).ok().flatten();
        let local = |at: Option<Timestamp>| {
            let at = at.and_then(|at| timetable.as_ref()?.local(at));
            at.map(|at| at.format(LOCAL).to_string())
                .unwrap_or_default()
        };
        table.add_row([
            full_name(schedule),
            terms(schedule),
            schedule.document.timezone.clone(),
            state(schedule).into(),
            local(schedule.next_fire_at),
            local(schedule.last_fire_at),
        ]);
    }
    print(&format!("{table}\n"))?;
    Ok(Exit::Success)
}

async fn steer(store: &dyn Store, name: &str, args: &SchedulesArgs) -> Result<Exit, Failure> {
    let schedule = schedule_of(store, name).await?;
    let id = schedule.pipeline.id;
    if args.pause {
        store.pause(id).await?;
    } else {
        store.resume(id).await?;
    }
    show(store, name, args).await
}

async fn schedule_of(store: &dyn Store, name: &str) -> Result<Schedule, Failure> {
    let pipeline = pipeline_of(store, name).await?;
    let schedule = store.schedule(pipeline.reference.id).await?;
    schedule.ok_or_else(|| {
        Failure::input(format!("pipeline {name:?} has no schedule"))
            .hint("give its file a `schedule`, and store it by `etl apply DIR`")
    })
}

async fn show(store: &dyn Store, name: &str, args: &SchedulesArgs) -> Result<Exit, Failure> {
    let schedule = schedule_of(store, name).await?;
    let fires = store.fires(schedule.pipeline.id, LAST_FIRES).await?;
    let timetable = Timetable::of(&schedule.document)
        .ok()
        .flatten()
        .ok_or_else(|| {
            Failure::input(format!(
                "the schedule of {name:?} can't be read by this version"
            ))
        })?;
    let planned = preview(&timetable, chrono::Utc::now().into(), args.next.into());
    let is_spread = schedule.document.start_jitter_seconds > 0;
    let starts_at = |planned: &Planned| {
        let fire = planned.fate.at()?;
        Some(timetable.start_of(schedule.pipeline.id, fire).starts_at)
    };
    if args.json {
        let mut shown = document(&schedule);
        shown["preview"] = planned
            .iter()
            .map(|planned| {
                json!({
                    "nominal": planned.nominal.format("%Y-%m-%dT%H:%M:%S").to_string(),
                    "fire_at": planned.fate.at(),
                    "start_at": starts_at(planned),
                    "fate": word(&planned.fate),
                    "note": note(planned),
                })
            })
            .collect();
        shown["fires"] = json!(fires);
        print_json(&shown)?;
        return Ok(Exit::Success);
    }
    let mut text = format!(
        "{}: {}, {}, {}\n",
        full_name(&schedule),
        terms(&schedule),
        schedule.document.timezone,
        state(&schedule)
    );
    let mut next = table(["fires", "UTC", "note"]);
    for planned in &planned {
        let at = planned.fate.at();
        let local = at.and_then(|at| timetable.local(at));
        let mut notes = Vec::from_iter(Some(note(planned)).filter(|note| !note.is_empty()));
        let start = starts_at(planned).filter(|_| is_spread);
        let start = start.and_then(|at| timetable.local(at));
        notes.extend(start.map(|at| at.format("its job starts at %H:%M:%S").to_string()));
        next.add_row([
            local.map_or_else(|| "–".into(), |at| at.format(LOCAL).to_string()),
            at.map(|at| at.to_string()[..19].replace('T', " "))
                .unwrap_or_default(),
            notes.join("; "),
        ]);
    }
    text.push_str(&format!("{next}\n"));
    if !fires.is_empty() {
        let mut last = table(["fired for", "decided", "job"]);
        for fire in &fires {
            let job = fire.job_id.map(|job| job.to_string());
            let reason = fire.reason.clone().unwrap_or_default();
            last.add_row([
                fire.nominal.to_string(),
                fire.created_at.to_string(),
                job.unwrap_or(reason),
            ]);
        }
        text.push_str(&format!("\n{last}\n"));
    }
    print(&text)?;
    Ok(Exit::Success)
}

/// Nominal times up to so many fires.
fn preview(timetable: &Timetable, now: Timestamp, fires: usize) -> Vec<Planned> {
    let mut seen = BTreeSet::new();
    let mut shown = Vec::new();
    for planned in timetable.preview(now).take(fires * LOOKED_AT) {
        if let Some(at) = planned.fate.at() {
            if seen.len() == fires && !seen.contains(&at) {
                break;
            }
            seen.insert(at);
        } else if seen.len() == fires {
            break;
        }
        shown.push(planned);
    }
    shown
}

fn full_name(schedule: &Schedule) -> String {
    match &*schedule.pipeline.namespace {
        "default" => schedule.pipeline.name.to_string(),
        namespace => format!("{namespace}/{}", schedule.pipeline.name),
    }
}

fn state(schedule: &Schedule) -> &'static str {
    match (schedule.is_paused, schedule.document.is_active) {
        (true, _) => "paused",
        (false, true) => "active",
        (false, false) => "inactive",
    }
}

/// The schedule as the document has it, in a few words.
fn terms(schedule: &Schedule) -> String {
    let document = &schedule.document;
    let mut text = document.schedule.clone().unwrap_or_default();
    if let Some(calendar) = &document.calendar {
        if let Some(n) = calendar.nth_business_day {
            let at = calendar.at.as_deref().unwrap_or_default();
            text.push_str(&format!("business day {n} at {at}"));
        }
        text.push_str(&format!(" by {}", calendar.name));
        if let Some(rule) = calendar.rule {
            let rule = json!(rule);
            text.push_str(&format!(" ({})", rule.as_str().unwrap_or_default()));
        }
    }
    text
}

fn word(fate: &Fate) -> &'static str {
    match fate {
        Fate::Fires { .. } | Fate::FiresOnce { .. } | Fate::FiresLate { .. } => "fires",
        Fate::Moved { .. } => "moved",
        Fate::Skipped { .. } | Fate::TooFew => "skipped",
    }
}

/// Why a nominal time is not simply a fire.
fn note(planned: &Planned) -> String {
    let nominal = planned.nominal.format("%a %Y-%m-%d %H:%M");
    match &planned.fate {
        Fate::Fires { .. } => String::new(),
        Fate::FiresOnce { .. } => format!("{nominal} comes twice; it fires the first time"),
        Fate::FiresLate { .. } => format!("{nominal} does not exist; it fires at the next instant"),
        Fate::Moved { because, .. } => format!("moved from {nominal}: {because}"),
        Fate::Skipped { because } => format!("{nominal} is left out: {because}"),
        Fate::TooFew => format!(
            "{} has too few business days",
            planned.nominal.format("%B %Y")
        ),
    }
}

/// A schedule for programs.
fn document(schedule: &Schedule) -> Value {
    let document = &schedule.document;
    json!({
        "pipeline_id": schedule.pipeline.id,
        "namespace": schedule.pipeline.namespace,
        "name": schedule.pipeline.name,
        "version": schedule.pipeline.version,
        "schedule": document.schedule,
        "timezone": document.timezone,
        "calendar": document.calendar,
        "catchup": document.catchup,
        "start_jitter_seconds": document.start_jitter_seconds,
        "is_active": document.is_active,
        "is_paused": schedule.is_paused,
        "next_fire_at": schedule.next_fire_at,
        "next_start_at": schedule.next_start_at,
        "last_fire_at": schedule.last_fire_at,
    })
}
