//! A look at what an authority will see, a moment before it looks: whether all addresses of a host
//! answer the challenge. It costs a failed validation less, of which five lock a host for an hour.

use crate::acme::{BeforeValidation, Presented, Ready};
use crate::hosts::Resolver;
use http::Request;
use http::header::HOST;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use verge_sync::clock::stopwatch;

/// A node that has just heard of a host answers within this.
const PATIENCE: Duration = Duration::from_secs(5);
const BETWEEN: Duration = Duration::from_millis(200);
/// One address, with a bad line.
const ONE: Duration = Duration::from_secs(3);
/// An authority takes any of them; more would take too long here.
const ADDRESSES_MAX: usize = 8;
/// What an answer has, and more.
const ANSWER_BYTES_MAX: usize = 1_024;

/// Knocks at the port at which nodes serve plain HTTP.
pub(super) struct Knock {
    pub(super) resolver: Arc<dyn Resolver>,
    pub(super) port: u16,
}

/// What an address said.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    /// What a node of the region says.
    Right,
    /// Something else: it is somebody else's.
    Wrong,
    /// Nothing: it may be out of reach from here only.
    Nothing,
}

impl BeforeValidation for Knock {
    fn ready<'a>(&'a self, presented: &'a [Presented]) -> Ready<'a> {
        Box::pin(async move {
            for one in presented {
                self.all_answer(one).await?;
            }
            Ok(())
        })
    }
}

impl Knock {
    async fn all_answer(&self, presented: &Presented) -> Result<(), String> {
        let name = &presented.name;
        let Ok(addresses) = self.resolver.addresses(name).await else {
            return Ok(());
        };
        for address in addresses.into_iter().take(ADDRESSES_MAX) {
            let begun = stopwatch();
            loop {
                match self.ask(address, presented).await {
                    Said::Right | Said::Nothing => break,
                    Said::Wrong if begun.elapsed() < PATIENCE => tokio::time::sleep(BETWEEN).await,
                    Said::Wrong => {
                        let kind = if address.is_ipv6() { "AAAA" } else { "A" };
                        return Err(format!(
                            "{name} has the {kind} record {address}, where no node of this region answers for it: remove it, or point it at the region"
                        ));
                    }
                }
            }
        }
        Ok(())
    }

    async fn ask(&self, address: IpAddr, presented: &Presented) -> Said {
        let asked = self.get(address, presented);
        match tokio::time::timeout(ONE, asked).await {
            Ok(Some(body)) if body == presented.answer.as_bytes() => Said::Right,
            Ok(Some(_other)) => Said::Wrong,
            Ok(None) | Err(_) => Said::Nothing,
        }
    }

    /// None if nobody answers with HTTP.
    async fn get(&self, address: IpAddr, presented: &Presented) -> Option<Vec<u8>> {
        let stream = TcpStream::connect(SocketAddr::new(address, self.port)).await;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream.ok()?)).await.ok()?;
        let request = Request::get(format!("/.well-known/acme-challenge/{}", presented.token))
            .header(HOST, &presented.name)
            .body(Empty::<&[u8]>::new())
            .ok()?;
        let asking = async {
            let response = sender.send_request(request).await.ok()?;
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX);
            // What is too long is no answer of ours.
            let whole = body.collect().await.map(|body| body.to_bytes().to_vec());
            Some(whole.unwrap_or_default())
        };
        tokio::select! {
            answer = asking => answer,
            _ended = connection => None,
        }
    }
}
