//! Column names without regard to case, as SQL promises and files don't keep: `SELECT Origin` and `select origin` both mean the
//! input's column `ORIGIN`.
//!
//! The engine folds unquoted names to lower case and then compares exactly, so a name that only an input's own spelling
//! matches is replaced by that spelling before planning. Quoted names are never touched.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, JoinConstraint, JoinOperator, ObjectName, ObjectNamePart, Query, Select,
    SelectItem, Statement, TableFactor, Visit, VisitMut, Visitor, VisitorMut,
};

/// The columns of a step's inputs.
#[derive(Debug, Default)]
pub(super) struct Columns {
    /// Spellings by their lower case.
    spellings: BTreeMap<String, BTreeSet<String>>,
}

impl Columns {
    /// Adds a column of an input.
    pub(super) fn add(&mut self, name: &str) {
        self.spellings
            .entry(name.to_lowercase())
            .or_default()
            .insert(name.to_owned());
    }

    /// Spells the columns in `statement` as the inputs do.
    pub(super) fn spell(&self, statement: &mut Statement) {
        let mut aliases = Aliases::default();
        let _: ControlFlow<()> = Visit::visit(statement, &mut aliases);
        let mut speller = Speller {
            columns: self,
            aliases: aliases.names,
        };
        let _: ControlFlow<()> = VisitMut::visit(statement, &mut speller);
    }
}

/// The names that a query itself gives: they hide an input's column of another spelling.
#[derive(Default)]
struct Aliases {
    names: BTreeSet<String>,
}

impl Aliases {
    fn add(&mut self, alias: &Ident) {
        self.names.insert(match alias.quote_style {
            Some(_) => alias.value.clone(),
            None => alias.value.to_lowercase(),
        });
    }
}

impl Visitor for Aliases {
    type Break = ();

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        for item in &select.projection {
            match item {
                SelectItem::ExprWithAlias { alias, .. } => self.add(alias),
                SelectItem::ExprWithAliases { aliases, .. } => {
                    for alias in aliases {
                        self.add(alias);
                    }
                }
                _ => {}
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        for table in query.with.iter().flat_map(|with| &with.cte_tables) {
            for column in &table.alias.columns {
                self.add(&column.name);
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table {
            alias: Some(alias), ..
        }
        | TableFactor::Derived {
            alias: Some(alias), ..
        } = factor
        {
            for column in &alias.columns {
                self.add(&column.name);
            }
        }
        ControlFlow::Continue(())
    }
}

struct Speller<'a> {
    columns: &'a Columns,
    aliases: BTreeSet<String>,
}

impl Speller<'_> {
    fn spell(&self, name: &mut Ident) {
        if name.quote_style.is_some() {
            return;
        }
        let folded = name.value.to_lowercase();
        let Some(spellings) = self.columns.spellings.get(&folded) else {
            return;
        };
        let spelling = if spellings.contains(&name.value) && name.value != folded {
            &name.value
        } else if spellings.contains(&folded) || self.aliases.contains(&folded) {
            return;
        } else if let (Some(only), 1) = (spellings.first(), spellings.len()) {
            only
        } else {
            return;
        };
        name.value = spelling.clone();
        name.quote_style = Some('"');
    }
}

impl VisitorMut for Speller<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            Expr::Identifier(name) => self.spell(name),
            Expr::CompoundIdentifier(names) => {
                if let Some(last) = names.last_mut() {
                    self.spell(last);
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        for join in select.from.iter_mut().flat_map(|table| &mut table.joins) {
            let Some(JoinConstraint::Using(names)) = constraint(&mut join.join_operator) else {
                continue;
            };
            for ObjectName(parts) in names {
                if let Some(ObjectNamePart::Identifier(name)) = parts.last_mut() {
                    self.spell(name);
                }
            }
        }
        ControlFlow::Continue(())
    }
}

fn constraint(join: &mut JoinOperator) -> Option<&mut JoinConstraint> {
    use JoinOperator as J;
    match join {
        J::Join(constraint)
        | J::Inner(constraint)
        | J::Left(constraint)
        | J::LeftOuter(constraint)
        | J::Right(constraint)
        | J::RightOuter(constraint)
        | J::FullOuter(constraint)
        | J::CrossJoin(constraint)
        | J::Semi(constraint)
        | J::LeftSemi(constraint)
        | J::RightSemi(constraint)
        | J::Anti(constraint)
        | J::LeftAnti(constraint)
        | J::RightAnti(constraint)
        | J::StraightJoin(constraint)
        | J::AsOf { constraint, .. } => Some(constraint),
        J::CrossApply | J::OuterApply | J::ArrayJoin | J::LeftArrayJoin | J::InnerArrayJoin => None,
    }
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::GenericDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;

    fn spelled(columns: &[&str], sql: &str) -> String {
        let mut known = Columns::default();
        for name in columns {
            known.add(name);
        }
        let mut statement = Parser::parse_sql(&GenericDialect, sql).unwrap().remove(0);
        known.spell(&mut statement);
        statement.to_string()
    }

    #[test]
    fn unquoted_names_get_the_spelling_of_the_input() {
        let columns = ["ORIGIN", "dest", "Date", "Year", "year"];
        for (sql, expected) in [
            ("SELECT origin FROM t", r#"SELECT "ORIGIN" FROM t"#),
            ("SELECT t.Origin FROM t", r#"SELECT t."ORIGIN" FROM t"#),
            ("SELECT DEST FROM t", "SELECT DEST FROM t"),
            ("SELECT \"origin\" FROM t", "SELECT \"origin\" FROM t"),
            ("SELECT date FROM t", r#"SELECT "Date" FROM t"#),
            (
                "SELECT CAST(a AS DATE) FROM t",
                "SELECT CAST(a AS DATE) FROM t",
            ),
            ("SELECT Year, year FROM t", r#"SELECT "Year", year FROM t"#),
            (
                "SELECT count(origin) FROM t",
                r#"SELECT count("ORIGIN") FROM t"#,
            ),
            (
                "SELECT * FROM t JOIN u USING (origin)",
                r#"SELECT * FROM t JOIN u USING("ORIGIN")"#,
            ),
        ] {
            assert_eq!(spelled(&columns, sql), expected);
        }
    }

    #[test]
    fn a_name_that_the_query_gives_hides_the_column() {
        assert_eq!(
            spelled(
                &["ORIGIN"],
                "WITH u AS (SELECT ORIGIN AS origin FROM t) SELECT origin FROM u"
            ),
            r#"WITH u AS (SELECT "ORIGIN" AS origin FROM t) SELECT origin FROM u"#
        );
    }
}
