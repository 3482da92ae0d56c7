//! `etl connectors`: what a step can be.

use etl_core::model::nearest;
use serde_json::{Value, json};

use crate::args::ConnectorsArgs;
use crate::deployment;
use crate::failure::{Exit, Failure};
use crate::view::{print, print_json, table};

pub(crate) fn execute(args: &ConnectorsArgs) -> Result<Exit, Failure> {
    let registry = deployment::registry();
    let Some(name) = &args.name else {
        let infos: Vec<_> = registry
            .connectors()
            .map(|(_, connector)| connector.info())
            .collect();
        if args.json {
            print_json(&json!({ "items": infos, "next_cursor": Value::Null }))?;
        } else {
            let mut table = table(["connector", "version", "what it does"]);
            for info in infos {
                table.add_row([info.name, info.version, info.description]);
            }
            print(&format!("{table}\n"))?;
        }
        return Ok(Exit::Success);
    };
    let Some(connector) = registry.connector(name) else {
        let known: Vec<&str> = registry.connectors().map(|(name, _)| name).collect();
        let hint = match nearest(name, known.iter().copied()) {
            Some(near) => format!("did you mean {near:?}?"),
            None => format!("known are {}", known.join(", ")),
        };
        return Err(Failure::input(format!("there is no connector {name:?}")).hint(hint));
    };
    let info = connector.info();
    if args.json {
        print_json(&info)?;
        return Ok(Exit::Success);
    }
    print(&format!(
        "{} {}\n{}\n\nconfig:\n",
        info.name, info.version, info.description
    ))?;
    print_json(&info.config_schema)?;
    if !info.credential_schema.is_null() {
        print("credential:\n")?;
        print_json(&info.credential_schema)?;
    }
    Ok(Exit::Success)
}
