//! What an ACME server remembers and answers (RFC 8555, RFC 9773): no network, no time.

use super::jws::{Jwk, Signed};
use super::sign::Signer;
use super::validate::Look;
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};
use std::collections::HashSet;

/// A request.
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) body: Vec<u8>,
}

/// An answer.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
}

/// An answer, and a look at a name that it begins.
pub(crate) struct Outcome {
    pub(crate) reply: Reply,
    pub(crate) look: Option<Look>,
}

/// A refusal (RFC 8555 section 6.7).
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    status: u16,
    kind: String,
    detail: String,
}

/// What the server says of profiles.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Profiles {
    /// It knows none and ignores them.
    #[default]
    Ignored,
    /// It lists these, and refuses others.
    Listed(Vec<&'static str>),
    /// It lists none and refuses all.
    Refused,
}

/// What may be made different about it.
#[derive(Debug, Clone)]
pub(crate) struct Switches {
    /// It has renewal advice: the window, as two times of RFC 3339.
    pub(crate) advice: Option<(&'static str, &'static str)>,
    /// `Retry-After` of the advice.
    pub(crate) advice_retry_after: Option<&'static str>,
    pub(crate) profiles: Profiles,
    /// `replaces` is read and not given back.
    pub(crate) forgets_replaces: bool,
    /// Every answer has this status and `Retry-After`.
    pub(crate) busy: Option<(u16, Option<String>)>,
    /// Every answer is a page with this status.
    pub(crate) html: Option<u16>,
    /// The directory is longer than any.
    pub(crate) is_endless: bool,
    /// Connections are closed at once.
    pub(crate) is_down: bool,
    /// The request with this number (from 0) is held and never answered: before it has an effect,
    pub(crate) stall_before: Option<u64>,
    /// or after.
    pub(crate) stall_after: Option<u64>,
    /// So many of ten nonces are rejected.
    pub(crate) nonce_rejects_in_ten: u64,
    /// So many looks at an order find it processing after it was finalized.
    pub(crate) processing_looks: u32,
    /// How long certificates live.
    pub(crate) life_s: u64,
    /// New orders are refused with this problem.
    pub(crate) refuses_orders: Option<Problem>,
    /// Certificates are for another name than was ordered.
    pub(crate) signs_wrongly: bool,
    /// Only dns-01 is offered.
    pub(crate) offers_dns_only: bool,
    /// Requests to revoke are held and never answered, and have no effect.
    pub(crate) stalls_revocations: bool,
}

impl Default for Switches {
    fn default() -> Self {
        Self {
            advice: None,
            advice_retry_after: Some("21600"),
            profiles: Profiles::Ignored,
            forgets_replaces: false,
            busy: None,
            html: None,
            is_endless: false,
            is_down: false,
            stall_before: None,
            stall_after: None,
            nonce_rejects_in_ten: 0,
            processing_looks: 0,
            life_s: 90 * 86_400,
            refuses_orders: None,
            signs_wrongly: false,
            offers_dns_only: false,
            stalls_revocations: false,
        }
    }
}

/// A certificate that was issued.
#[derive(Debug, Clone)]
pub(crate) struct Certificate {
    pub(crate) names: Vec<String>,
    pub(crate) pem: String,
    /// The reason, if it was revoked.
    pub(crate) revoked: Option<u64>,
    der: Vec<u8>,
    account: usize,
}

struct Account {
    key: Jwk,
}

struct Order {
    account: usize,
    names: Vec<String>,
    authorizations: Vec<usize>,
    replaces: Option<String>,
    status: &'static str,
    error: Option<Problem>,
    certificate: Option<usize>,
    /// Looks until it is valid.
    looks_left: u32,
}

struct Authorization {
    account: usize,
    name: String,
    is_wildcard: bool,
    status: &'static str,
    /// Which of the challenges was taken up, and what was found.
    taken: Option<&'static str>,
    error: Option<Problem>,
}

/// Everything that it remembers.
pub(crate) struct State {
    pub(crate) switches: Switches,
    pub(crate) requests: Vec<String>,
    pub(crate) wishes: Vec<Value>,
    pub(crate) certificates: Vec<Certificate>,
    base: String,
    signer: Signer,
    nonces: HashSet<String>,
    nonce_count: u64,
    post_count: u64,
    accounts: Vec<Account>,
    orders: Vec<Option<Order>>,
    authorizations: Vec<Authorization>,
    replaced: HashSet<String>,
}

impl Problem {
    pub(crate) fn new(status: u16, kind: &str, detail: &str) -> Self {
        let (kind, detail) = (kind.to_owned(), detail.to_owned());
        Self {
            status,
            kind,
            detail,
        }
    }

    fn json(&self) -> Value {
        let kind = format!("urn:ietf:params:acme:error:{}", self.kind);
        json!({"type": kind, "detail": self.detail, "status": self.status})
    }

    pub(crate) fn reply(&self) -> Reply {
        Reply {
            status: self.status,
            headers: vec![("content-type", "application/problem+json".to_owned())],
            body: self.json().to_string().into_bytes(),
        }
    }
}

impl Reply {
    fn json(status: u16, value: &Value) -> Self {
        Self {
            status,
            headers: vec![("content-type", "application/json".to_owned())],
            body: value.to_string().into_bytes(),
        }
    }

    fn at(mut self, url: String) -> Self {
        self.headers.push(("location", url));
        self
    }
}

type Answered = Result<Outcome, Problem>;

fn only(reply: Reply) -> Answered {
    Ok(Outcome { reply, look: None })
}

fn malformed(detail: &str) -> Problem {
    Problem::new(400, "malformed", detail)
}

impl State {
    pub(crate) fn new(base: String, signer: Signer) -> Self {
        Self {
            switches: Switches::default(),
            requests: Vec::new(),
            wishes: Vec::new(),
            certificates: Vec::new(),
            base,
            signer,
            nonces: HashSet::new(),
            nonce_count: 0,
            post_count: 0,
            accounts: Vec::new(),
            orders: Vec::new(),
            authorizations: Vec::new(),
            replaced: HashSet::new(),
        }
    }

    /// The number of this request.
    pub(crate) fn note(&mut self, asked: &Asked) -> u64 {
        let path = asked.path.trim_start_matches('/');
        self.requests.push(format!("{} {path}", asked.method));
        u64::try_from(self.requests.len() - 1).unwrap()
    }

    pub(crate) fn nonce(&mut self) -> String {
        self.nonce_count += 1;
        let nonce = BASE64URL_NOPAD.encode(format!("nonce {}", self.nonce_count).as_bytes());
        self.nonces.insert(nonce.clone());
        nonce
    }

    pub(crate) fn forget_orders(&mut self) {
        self.orders.iter_mut().for_each(|order| *order = None);
    }

    pub(crate) fn answer(&mut self, asked: &Asked) -> Outcome {
        let answered = match (asked.method.as_str(), asked.path.as_str()) {
            ("GET", "/directory") => only(Reply::json(200, &self.directory())),
            ("HEAD" | "GET", "/nonce") => only(Reply {
                status: 200,
                headers: Vec::new(),
                body: Vec::new(),
            }),
            ("GET", path) if path.starts_with("/advice/") => self.advice(),
            ("POST", _path) => self.post(asked),
            _ => Err(Problem::new(404, "malformed", "no such resource")),
        };
        answered.unwrap_or_else(|problem| Outcome {
            reply: problem.reply(),
            look: None,
        })
    }

    fn directory(&self) -> Value {
        let at = |path: &str| format!("{}/{path}", self.base);
        let mut meta = json!({"termsOfService": at("terms"), "caaIdentities": ["ca.test"]});
        if let Profiles::Listed(names) = &self.switches.profiles {
            let listed = names
                .iter()
                .map(|name| ((*name).to_owned(), json!("of the test")));
            meta["profiles"] = Value::Object(listed.collect());
        }
        let mut directory = json!({
            "newNonce": at("nonce"), "newAccount": at("new-account"), "newOrder": at("new-order"),
            "revokeCert": at("revoke"), "keyChange": at("key-change"), "meta": meta,
        });
        if self.switches.advice.is_some() {
            directory["renewalInfo"] = at("advice").into();
        }
        directory
    }

    fn advice(&self) -> Answered {
        let Some((start, end)) = self.switches.advice else {
            return Err(Problem::new(404, "malformed", "no advice"));
        };
        let window = json!({"suggestedWindow": {"start": start, "end": end}});
        let mut reply = Reply::json(200, &window);
        if let Some(after) = self.switches.advice_retry_after {
            reply.headers.push(("retry-after", after.to_owned()));
        }
        only(reply)
    }

    fn post(&mut self, asked: &Asked) -> Answered {
        let signed = Signed::parse(&asked.body)?;
        self.post_count += 1;
        if signed.url != format!("{}{}", self.base, asked.path) {
            return Err(Problem::new(
                401,
                "unauthorized",
                "the URL is not the signed one",
            ));
        }
        let is_fresh = signed
            .nonce
            .as_ref()
            .is_some_and(|nonce| self.nonces.remove(nonce));
        if !is_fresh || self.post_count % 10 < self.switches.nonce_rejects_in_ten {
            return Err(Problem::new(400, "badNonce", "not this one"));
        }
        if asked.path == "/new-account" {
            return self.new_account(&signed);
        }
        let account = self.account_of(&signed)?;
        let (kind, number) = place(&asked.path);
        match (kind, number) {
            ("new-order", None) => self.new_order(account, &signed),
            ("key-change", None) => self.key_change(account, &signed),
            ("revoke", None) => self.revoke(account, &signed),
            ("account", Some(_number)) => only(Reply::json(200, &json!({"status": "valid"}))),
            ("order", Some(number)) => self.look_at_order(account, number),
            ("finalize", Some(number)) => self.finalize(account, number, &signed),
            ("authorization", Some(number)) => {
                let found = self.authorization(account, number)?;
                let json = self.authorization_json(number, found);
                only(Reply::json(200, &json))
            }
            ("http-01", Some(number)) => self.take_up(account, number, "http-01"),
            ("dns-01", Some(number)) => self.take_up(account, number, "dns-01"),
            ("certificate", Some(number)) => self.certificate(account, number),
            _ => Err(Problem::new(404, "malformed", "no such resource")),
        }
    }

    fn account_of(&self, signed: &Signed) -> Result<usize, Problem> {
        let unknown = || Problem::new(400, "accountDoesNotExist", "no such account");
        let kid = signed.kid.as_ref().ok_or_else(|| malformed("no kid"))?;
        let path = kid.strip_prefix(&self.base).ok_or_else(unknown)?;
        let (_kind, number) = place(path);
        let number = number
            .filter(|number| *number < self.accounts.len())
            .ok_or_else(unknown)?;
        signed.verify(&self.accounts[number].key)?;
        Ok(number)
    }

    fn new_account(&mut self, signed: &Signed) -> Answered {
        let key = signed.jwk.clone().ok_or_else(|| malformed("no jwk"))?;
        signed.verify(&key)?;
        let wish = signed.json()?.unwrap_or_default();
        if wish["termsOfServiceAgreed"] != true {
            return Err(Problem::new(
                403,
                "userActionRequired",
                "agree to the terms",
            ));
        }
        let known = self.accounts.iter().position(|account| account.key == key);
        let (status, number) = match known {
            Some(number) => (200, number),
            None => {
                self.accounts.push(Account { key });
                (201, self.accounts.len() - 1)
            }
        };
        let reply = Reply::json(status, &json!({"status": "valid"}));
        only(reply.at(format!("{}/account/{number}", self.base)))
    }

    /// Section 7.3.5.
    fn key_change(&mut self, account: usize, signed: &Signed) -> Answered {
        let inner = Signed::parse(&signed.payload)?;
        let new = inner
            .jwk
            .clone()
            .ok_or_else(|| malformed("no jwk inside"))?;
        inner.verify(&new)?;
        let claim = inner.json()?.unwrap_or_default();
        let old = Jwk::parse(&claim["oldKey"]);
        let is_right = inner.url == signed.url
            && inner.nonce.is_none()
            && claim["account"].as_str() == signed.kid.as_deref()
            && old.as_ref() == Some(&self.accounts[account].key);
        if !is_right {
            return Err(malformed("the inner part does not fit"));
        }
        if self.accounts.iter().any(|account| account.key == new) {
            return Err(Problem::new(409, "conflict", "the key has an account"));
        }
        self.accounts[account].key = new;
        only(Reply::json(200, &json!({"status": "valid"})))
    }

    fn new_order(&mut self, account: usize, signed: &Signed) -> Answered {
        let wish = signed.json()?.unwrap_or_default();
        self.wishes.push(wish.clone());
        if let Some(problem) = &self.switches.refuses_orders {
            return Err(problem.clone());
        }
        self.check_profile(&wish)?;
        let replaces = wish["replaces"].as_str().map(str::to_owned);
        if replaces
            .as_ref()
            .is_some_and(|replaces| self.replaced.contains(replaces))
        {
            return Err(Problem::new(409, "alreadyReplaced", "it has a successor"));
        }
        let identifiers = wish["identifiers"].as_array().cloned().unwrap_or_default();
        let name = |value: &Value| value["value"].as_str().unwrap_or_default().to_owned();
        let mut names: Vec<String> = identifiers.iter().map(name).collect();
        names.sort();
        let authorizations = names
            .iter()
            .map(|name| self.new_authorization(account, name));
        let authorizations = authorizations.collect();
        let order = Order {
            account,
            names,
            authorizations,
            replaces: replaces.filter(|_| !self.switches.forgets_replaces),
            status: "pending",
            error: None,
            certificate: None,
            looks_left: self.switches.processing_looks,
        };
        let json = self.order_json(self.orders.len(), &order);
        self.orders.push(Some(order));
        let url = format!("{}/order/{}", self.base, self.orders.len() - 1);
        only(Reply::json(201, &json).at(url))
    }

    fn check_profile(&self, wish: &Value) -> Result<(), Problem> {
        let Some(profile) = wish["profile"].as_str() else {
            return Ok(());
        };
        match &self.switches.profiles {
            Profiles::Ignored => Ok(()),
            Profiles::Listed(names) if names.contains(&profile) => Ok(()),
            _ => Err(Problem::new(400, "invalidProfile", "no such profile")),
        }
    }

    fn new_authorization(&mut self, account: usize, name: &str) -> usize {
        let base = name.strip_prefix("*.");
        self.authorizations.push(Authorization {
            account,
            name: base.unwrap_or(name).to_owned(),
            is_wildcard: base.is_some(),
            status: "pending",
            taken: None,
            error: None,
        });
        self.authorizations.len() - 1
    }

    fn order(&mut self, account: usize, number: usize) -> Result<&mut Order, Problem> {
        let order = self.orders.get_mut(number).and_then(Option::as_mut);
        let order = order.filter(|order| order.account == account);
        order.ok_or_else(|| Problem::new(404, "malformed", "no such order"))
    }

    fn look_at_order(&mut self, account: usize, number: usize) -> Answered {
        let statuses = self.statuses(account, number)?;
        let order = self.order(account, number)?;
        match order.status {
            "pending" if statuses.contains(&"invalid") => order.status = "invalid",
            "pending" if statuses.iter().all(|status| *status == "valid") => order.status = "ready",
            "processing" if order.looks_left == 0 => order.status = "valid",
            "processing" => order.looks_left -= 1,
            _ => {}
        }
        self.order_reply(number)
    }

    fn statuses(&mut self, account: usize, number: usize) -> Result<Vec<&'static str>, Problem> {
        let places = self.order(account, number)?.authorizations.clone();
        Ok(places
            .iter()
            .map(|place| self.authorizations[*place].status)
            .collect())
    }

    fn order_reply(&self, number: usize) -> Answered {
        let order = self.orders[number]
            .as_ref()
            .ok_or_else(|| malformed("gone"))?;
        only(Reply::json(200, &self.order_json(number, order)))
    }

    fn order_json(&self, number: usize, order: &Order) -> Value {
        let at = |kind: &str, number: usize| format!("{}/{kind}/{number}", self.base);
        let identifier = |name: &String| json!({"type": "dns", "value": name});
        let authorizations = order
            .authorizations
            .iter()
            .map(|place| at("authorization", *place));
        let mut json = json!({
            "status": order.status,
            "identifiers": order.names.iter().map(identifier).collect::<Vec<_>>(),
            "authorizations": authorizations.collect::<Vec<_>>(),
            "finalize": at("finalize", number),
        });
        if let Some(replaces) = &order.replaces {
            json["replaces"] = replaces.as_str().into();
        }
        if let Some(error) = &order.error {
            json["error"] = error.json();
        }
        if let (Some(place), "valid") = (order.certificate, order.status) {
            json["certificate"] = at("certificate", place).into();
        }
        json
    }

    fn authorization(&self, account: usize, number: usize) -> Result<&Authorization, Problem> {
        let found = self
            .authorizations
            .get(number)
            .filter(|one| one.account == account);
        found.ok_or_else(|| Problem::new(404, "malformed", "no such authorization"))
    }

    fn authorization_json(&self, number: usize, authorization: &Authorization) -> Value {
        let challenge = |kind: &'static str| {
            let is_taken = authorization.taken == Some(kind);
            let status = match authorization.status {
                "pending" if is_taken => "processing",
                status if is_taken => status,
                _ => "pending",
            };
            let mut json = json!({
                "type": kind, "status": status, "token": token(number),
                "url": format!("{}/{kind}/{number}", self.base),
            });
            if let Some(error) = authorization.error.as_ref().filter(|_| is_taken) {
                json["error"] = error.json();
            }
            json
        };
        let has_http = !authorization.is_wildcard && !self.switches.offers_dns_only;
        let offered = if has_http {
            ["http-01", "dns-01"].as_slice()
        } else {
            &["dns-01"]
        };
        let mut json = json!({
            "identifier": {"type": "dns", "value": authorization.name},
            "status": authorization.status,
            "challenges": offered.iter().map(|kind| challenge(kind)).collect::<Vec<_>>(),
        });
        if authorization.is_wildcard {
            json["wildcard"] = true.into();
        }
        json
    }

    fn take_up(&mut self, account: usize, number: usize, kind: &'static str) -> Answered {
        self.authorization(account, number)?;
        let thumbprint = self.accounts[account].key.thumbprint();
        let authorization = &mut self.authorizations[number];
        let is_first = authorization.taken.is_none() && authorization.status == "pending";
        authorization.taken.get_or_insert(kind);
        let look = is_first.then(|| Look {
            authorization: number,
            name: authorization.name.clone(),
            is_dns: kind == "dns-01",
            token: token(number),
            thumbprint,
        });
        let json = json!({
            "type": kind, "status": "processing", "token": token(number),
            "url": format!("{}/{kind}/{number}", self.base),
        });
        Ok(Outcome {
            reply: Reply::json(200, &json),
            look,
        })
    }

    /// A look at a name has ended.
    pub(crate) fn looked(&mut self, number: usize, found: Result<(), Problem>) {
        let authorization = &mut self.authorizations[number];
        authorization.status = if found.is_ok() { "valid" } else { "invalid" };
        authorization.error = found.err();
    }

    fn finalize(&mut self, account: usize, number: usize, signed: &Signed) -> Answered {
        let order = self.order(account, number)?;
        if order.status != "ready" {
            return Err(Problem::new(403, "orderNotReady", "it is not ready"));
        }
        let (names, replaces) = (order.names.clone(), order.replaces.clone());
        let wish = signed.json()?.unwrap_or_default();
        let request = wish["csr"].as_str().unwrap_or_default();
        let request = BASE64URL_NOPAD.decode(request.as_bytes());
        let request = request.map_err(|_error| malformed("the csr is no base64url"))?;
        let serial = u64::try_from(self.certificates.len()).unwrap() + (1 << 40);
        let mut leaf = self
            .signer
            .sign(&request, &names, serial, self.switches.life_s)?;
        if self.switches.signs_wrongly {
            leaf.pem = self.signer.root_pem.clone();
        }
        self.certificates.push(Certificate {
            names,
            pem: leaf.pem,
            revoked: None,
            der: leaf.der,
            account,
        });
        let place = self.certificates.len() - 1;
        self.replaced.extend(replaces);
        let order = self.order(account, number)?;
        order.certificate = Some(place);
        order.status = if order.looks_left == 0 {
            "valid"
        } else {
            "processing"
        };
        self.order_reply(number)
    }

    fn certificate(&self, account: usize, number: usize) -> Answered {
        let found = self
            .certificates
            .get(number)
            .filter(|one| one.account == account);
        let found = found.ok_or_else(|| Problem::new(404, "malformed", "no such certificate"))?;
        only(Reply {
            status: 200,
            headers: vec![(
                "content-type",
                "application/pem-certificate-chain".to_owned(),
            )],
            body: found.pem.clone().into_bytes(),
        })
    }

    fn revoke(&mut self, account: usize, signed: &Signed) -> Answered {
        let wish = signed.json()?.unwrap_or_default();
        let der =
            BASE64URL_NOPAD.decode(wish["certificate"].as_str().unwrap_or_default().as_bytes());
        let der = der.map_err(|_error| malformed("no base64url"))?;
        let found = self.certificates.iter_mut().find(|one| one.der == der);
        let found = found.filter(|one| one.account == account);
        let found = found.ok_or_else(|| Problem::new(403, "unauthorized", "not yours"))?;
        if found.revoked.is_some() {
            return Err(Problem::new(400, "alreadyRevoked", "it is revoked"));
        }
        found.revoked = Some(wish["reason"].as_u64().unwrap_or(0));
        only(Reply {
            status: 200,
            headers: Vec::new(),
            body: Vec::new(),
        })
    }
}

/// `/kind/number`.
fn place(path: &str) -> (&str, Option<usize>) {
    let path = path.trim_start_matches('/');
    match path.rsplit_once('/') {
        Some((kind, number)) => (kind, number.parse().ok()),
        None => (path, None),
    }
}

fn token(number: usize) -> String {
    BASE64URL_NOPAD.encode(format!("token of authorization {number}").as_bytes())
}
