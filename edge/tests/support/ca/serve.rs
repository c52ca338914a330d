//! The server's thread: TLS, HTTP, and the switches that are about answers.

use super::protocol::{Asked, Outcome, Problem, Reply, State, Switches};
use super::sign::Signer;
use super::validate::Look;
use super::{Ca, Shared};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio_rustls::TlsAcceptor;

pub(super) fn start() -> Ca {
    let signer = Signer::new();
    let root_pem = signer.root_pem.clone();
    let tls = tls(&signer);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let shared = Arc::new(Shared {
        state: Mutex::new(State::new(format!("https://{address}"), signer)),
        texts: Mutex::default(),
        routes: Mutex::new(BTreeMap::new()),
        stalled: watch::Sender::new(0),
    });
    let (stop, stopped) = oneshot::channel::<()>();
    let of_thread = Arc::clone(&shared);
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            tokio::select! {
                () = accept(listener, tls, of_thread) => {}
                _ = stopped => {}
            }
        });
    });
    Ca {
        shared,
        address,
        root_pem,
        stop: Some(stop),
        thread: Some(thread),
    }
}

fn tls(signer: &Signer) -> TlsAcceptor {
    let (certificate, key) = signer.own();
    let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

async fn accept(listener: TcpListener, tls: TlsAcceptor, shared: Arc<Shared>) {
    loop {
        let (stream, _peer) = listener.accept().await.unwrap();
        // A server that is down takes no connection.
        if !shared.state.lock().unwrap().switches.is_down {
            tokio::spawn(serve(stream, tls.clone(), Arc::clone(&shared)));
        }
    }
}

async fn serve(stream: TcpStream, tls: TlsAcceptor, shared: Arc<Shared>) {
    let Ok(stream) = tls.accept(stream).await else {
        return;
    };
    let service = service_fn(move |request| answer(request, Arc::clone(&shared)));
    let connection =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // Whoever goes away early is part of the tests.
    drop(connection.await);
}

/// No answer: the connection ends.
#[derive(Debug, thiserror::Error)]
#[error("the server is down")]
struct Down;

async fn answer(
    request: Request<Incoming>,
    shared: Arc<Shared>,
) -> Result<Response<Full<Bytes>>, Down> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(|_error| Down)?.to_bytes();
    let asked = Asked {
        method: parts.method.as_str().to_owned(),
        path: parts.uri.path().to_owned(),
        body: body.to_vec(),
    };
    let (number, switches) = {
        let mut state = shared.state.lock().unwrap();
        (state.note(&asked), state.switches.clone())
    };
    if switches.is_down {
        return Err(Down);
    }
    let is_stalled = switches.stalls_revocations && asked.path == "/revoke";
    if is_stalled || switches.stall_before == Some(number) {
        stall(&shared).await;
    }
    let outcome = match instead(&switches, &asked) {
        Some(reply) => Outcome { reply, look: None },
        None => shared.state.lock().unwrap().answer(&asked),
    };
    if let Some(look) = outcome.look {
        tokio::spawn(take(look, Arc::clone(&shared)));
    }
    if switches.stall_after == Some(number) {
        stall(&shared).await;
    }
    Ok(response(outcome.reply, &shared))
}

/// Never ends: whoever waits gives up.
async fn stall(shared: &Shared) {
    shared.stalled.send_modify(|count| *count += 1);
    std::future::pending::<()>().await;
}

async fn take(look: Look, shared: Arc<Shared>) {
    let found = look.take(&shared).await;
    shared
        .state
        .lock()
        .unwrap()
        .looked(look.authorization, found);
}

/// What a server answers that does not work.
fn instead(switches: &Switches, asked: &Asked) -> Option<Reply> {
    if let Some((status, retry_after)) = &switches.busy {
        let kind = if *status == 429 {
            "rateLimited"
        } else {
            "serverInternal"
        };
        let mut reply = Problem::new(*status, kind, "come back later").reply();
        if let Some(retry_after) = retry_after {
            reply.headers.push(("retry-after", retry_after.clone()));
        }
        return Some(reply);
    }
    if let Some(status) = switches.html {
        return Some(Reply {
            status,
            headers: vec![("content-type", "text/html".to_owned())],
            body: b"<!doctype html><title>Welcome to the hotel</title>".to_vec(),
        });
    }
    let is_long = switches.is_endless && asked.path == "/directory";
    is_long.then(|| Reply {
        status: 200,
        headers: Vec::new(),
        body: vec![b' '; 300 << 10],
    })
}

fn response(reply: Reply, shared: &Shared) -> Response<Full<Bytes>> {
    let nonce = shared.state.lock().unwrap().nonce();
    let mut response = Response::builder()
        .status(reply.status)
        .header("replay-nonce", nonce);
    for (name, value) in reply.headers {
        response = response.header(name, value);
    }
    response.body(Full::new(Bytes::from(reply.body))).unwrap()
}
