//! What has a label in common: all its sagas, and of all approvals those that are open.

use serde_json::Value;

use super::typed_items;
use crate::client::Client;
use crate::error::CliError;
use crate::screens::work::Open;
use crate::view::Row;

/// The largest page there is.
const PAGE_ROWS: usize = 500;

/// Every saga with this label, newest first.
pub(crate) async fn sagas(client: &Client, label: &str) -> Result<Vec<Row>, CliError> {
    let mut rows = Vec::new();
    let query = [("label", label.to_owned())];
    pages(client, "/v1/sagas", &query, |page| {
        rows.extend(typed_items::<Row>(page, "sagas")?);
        Ok(())
    })
    .await?;
    Ok(rows)
}

/// Every approval somebody is asked for, oldest first.
pub(crate) async fn approvals(client: &Client) -> Result<Vec<Open>, CliError> {
    let mut open = Vec::new();
    let query = [("kind", "approval".to_owned())];
    pages(client, "/v1/work-items", &query, |page| {
        open.extend(typed_items::<Open>(page, "work_items")?);
        Ok(())
    })
    .await?;
    Ok(open)
}

async fn pages(
    client: &Client,
    path: &str,
    query: &[(&'static str, String)],
    mut take: impl FnMut(&Value) -> Result<(), CliError>,
) -> Result<(), CliError> {
    let mut cursor = None;
    loop {
        let mut asked = query.to_vec();
        asked.push(("limit", PAGE_ROWS.to_string()));
        asked.extend(cursor.take().map(|next| ("cursor", next)));
        let page = client.get(path, &asked).await?;
        if let Some(Value::String(name)) = page["unreadable"].get(0) {
            // whoever counts all of them must not leave one out
            let what = format!(
                "what stands in {path} of {name} cannot be read, so that not all are known"
            );
            return Err(CliError::not_there(what, None, "baton ls"));
        }
        take(&page)?;
        match page["next"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => return Ok(()),
        }
    }
}
