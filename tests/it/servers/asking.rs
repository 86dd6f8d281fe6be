//! What tests ask of a region's processes and its Postgres, over the addresses that an operator uses too.

use serde_json::json;
use sqlx::Connection as _;

use super::Regions;
use crate::client::token;
use crate::node::eventually_async;
use crate::request::{self, Request};

impl Regions {
    /// A publish over HTTP in a region (1 or 2).
    pub(crate) async fn publish(&self, region: usize, channel: &str, id: &str) -> request::Answer {
        let event = json!({ "channel": channel, "id": id, "data": 1 });
        let request = Request::publish(&token("http"), &event);
        request.send(self.clients[region - 1]).await.expect("an answer")
    }

    /// Runs a statement on a region's Postgres.
    pub(crate) async fn sql(&self, region: u32, statement: &'static str) {
        let mut connection =
            sqlx::PgConnection::connect(self.stack.postgres(region)).await.expect("a connection");
        sqlx::raw_sql(statement).execute(&mut connection).await.expect("done");
    }

    /// What a process answers on its admin address.
    pub(crate) async fn asked(&self, name: &str, path: &str) -> request::Answer {
        let admin = self.admins[name];
        eventually_async(path, || async move { request::get(admin, path).await.ok() }).await
    }

    /// Waits until a process's `/readyz` says this.
    pub(crate) async fn tells(&self, name: &str, what: &str) {
        let admin = self.admins[name];
        eventually_async(what, || async move {
            let answer = request::get(admin, "/readyz").await.ok()?;
            answer.body.contains(what).then_some(())
        })
        .await;
    }

    /// What `GET /v1/regions` answers in a region.
    pub(crate) async fn state(&self, region: usize) -> serde_json::Value {
        let answer =
            request::get(self.clients[region - 1], "/v1/regions").await.expect("an answer");
        serde_json::from_str(&answer.body).expect("JSON")
    }

    /// A metric's value in a process.
    pub(crate) async fn metric(&self, name: &str, metric: &str) -> Option<f64> {
        let answer = request::get(self.admins[name], "/metrics").await.ok()?;
        let line = answer.body.lines().find(|line| line.starts_with(metric))?;
        line.rsplit(' ').next()?.parse().ok()
    }

    /// The sum of a metric over all its labels in a process.
    pub(crate) async fn sum(&self, name: &str, metric: &str) -> Option<f64> {
        let answer = request::get(self.admins[name], "/metrics").await.ok()?;
        let lines = answer.body.lines().filter(|line| line.starts_with(metric));
        Some(lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
    }
}
