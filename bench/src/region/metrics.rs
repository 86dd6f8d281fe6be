//! What a process says of itself at `/metrics`.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A metric's value, summed over its labels; 0 where it has none yet.
pub(crate) async fn metric(admin: SocketAddr, name: &str) -> Result<f64> {
    let mut stream = TcpStream::connect(admin).await?;
    let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    sum(&answer, name).with_context(|| format!("`{name}` is not a number"))
}

fn sum(text: &str, name: &str) -> Option<f64> {
    let values = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        rest.starts_with([' ', '{']).then(|| rest.rsplit(' ').next()?.parse::<f64>().ok())
    });
    values.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_summed_over_its_labels() {
        let text = "# TYPE a counter\na{x=\"1 2\"} 3\na{x=\"4\"} 5\nab 7\nb 0.5\n";
        assert_eq!(sum(text, "a"), Some(8.0));
        assert_eq!(sum(text, "b"), Some(0.5));
        assert_eq!(sum(text, "c"), Some(0.0));
        assert_eq!(sum("a x\n", "a"), None);
    }
}
