//! Embeds the engine: a pipeline of plain async functions, with typed edges, run in memory.

use etl_core::model::StepError;
use etl_core::sdk::{Etl, Flow};

#[derive(serde::Serialize, serde::Deserialize)]
struct Sale {
    shop: String,
    amount: u64,
}

async fn extract() -> Result<Vec<Sale>, StepError> {
    let sale = |shop: &str, amount| Sale {
        shop: shop.into(),
        amount,
    };
    Ok(vec![
        sale("Lisbon", 120),
        sale("Recife", 80),
        sale("Lisbon", 40),
    ])
}

async fn total(sales: Vec<Sale>) -> Result<u64, StepError> {
    Ok(sales.iter().map(|sale| sale.amount).sum())
}

async fn shops(sales: Vec<Sale>) -> Result<Vec<String>, StepError> {
    let shops: std::collections::BTreeSet<String> =
        sales.into_iter().map(|sale| sale.shop).collect();
    Ok(shops.into_iter().collect())
}

async fn report(total: u64, shops: Vec<String>) -> Result<String, StepError> {
    Ok(format!("{total} sold in {}", shops.join(" and ")))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let flow = Flow::new("sales");
    let extract = flow.step("extract", extract);
    let total = flow.step("total", total).after(&extract);
    let shops = flow.step("shops", shops).after(&extract);
    let report = flow.step("report", report).after((&total, &shops));

    let etl = Etl::builder().build();
    let outcome = etl.run(&flow, serde_json::Map::new()).await?;
    let text = outcome.output(&report)?;
    println!("{text}");
    assert_eq!(text, "240 sold in Lisbon and Recife");
    etl.shutdown().await;
    Ok(())
}
