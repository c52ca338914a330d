//! Looking for the answer to a challenge (RFC 8555 sections 8.3 and 8.4).

use super::Shared;
use super::protocol::Problem;
use data_encoding::BASE64URL_NOPAD;
use sha2::{Digest as _, Sha256};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const PATIENCE: Duration = Duration::from_secs(10);

/// A look that is to be taken.
pub(crate) struct Look {
    pub(crate) authorization: usize,
    pub(crate) name: String,
    pub(crate) is_dns: bool,
    pub(crate) token: String,
    pub(crate) thumbprint: String,
}

impl Look {
    pub(crate) async fn take(&self, shared: &Shared) -> Result<(), Problem> {
        if self.is_dns {
            return self.text(shared);
        }
        match tokio::time::timeout(PATIENCE, self.page(shared)).await {
            Ok(found) => found,
            Err(_elapsed) => Err(Problem::new(400, "connection", "no answer in time")),
        }
    }

    fn answer(&self) -> String {
        format!("{}.{}", self.token, self.thumbprint)
    }

    fn text(&self, shared: &Shared) -> Result<(), Problem> {
        let wanted = BASE64URL_NOPAD.encode(&Sha256::digest(self.answer().as_bytes()));
        let texts = shared.texts.lock().unwrap();
        let found = texts.get(&format!("_acme-challenge.{}", self.name));
        if found.is_some_and(|texts| texts.contains(&wanted)) {
            Ok(())
        } else {
            Err(Problem::new(403, "unauthorized", "no such text"))
        }
    }

    async fn page(&self, shared: &Shared) -> Result<(), Problem> {
        let address = {
            let routes = shared.routes.lock().unwrap();
            routes.get(&self.name).or_else(|| routes.get("")).copied()
        };
        let address = address.ok_or_else(|| Problem::new(400, "dns", "no such name"))?;
        let fetched = self.fetch(address).await;
        let fetched =
            fetched.map_err(|error| Problem::new(400, "connection", &error.to_string()))?;
        let (head, body) = fetched.split_once("\r\n\r\n").unwrap_or_default();
        if head.starts_with("HTTP/1.1 200 ") && body.trim_end() == self.answer() {
            Ok(())
        } else {
            Err(Problem::new(403, "unauthorized", "another answer"))
        }
    }

    async fn fetch(&self, address: std::net::SocketAddr) -> std::io::Result<String> {
        let (name, token) = (&self.name, &self.token);
        let mut stream = TcpStream::connect(address).await?;
        let request = format!(
            "GET /.well-known/acme-challenge/{token} HTTP/1.1\r\nHost: {name}\r\n\
             Connection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.take(64 << 10).read_to_string(&mut answer).await?;
        Ok(answer)
    }
}
