//! A client of the API for tests that make thousands of calls: SigV4 written from AWS's
//! description, apart from the bridge's own. The AWS CLI and boto3 have tests of their own.

use crate::bridge::AccessKey;
use anyhow::{Context as _, Result, ensure};
use ring::{digest, hmac};
use serde_json::Value;
use std::fmt;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The API refused a call.
#[derive(Debug, Clone)]
pub struct ApiFailure {
    /// HTTP status.
    pub status: u16,
    /// AWS error code.
    pub code: String,
    /// Its message.
    pub message: String,
}

impl fmt::Display for ApiFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.code, self.status, self.message)
    }
}

impl std::error::Error for ApiFailure {}

/// A caller with an access key.
#[derive(Debug, Clone)]
pub struct Api {
    address: SocketAddr,
    key: AccessKey,
    region: String,
}

impl Api {
    /// A caller in region `eu-central-1`.
    #[must_use]
    pub fn new(address: SocketAddr, key: AccessKey) -> Self {
        Self {
            address,
            key,
            region: "eu-central-1".into(),
        }
    }

    /// Calls an operation.
    ///
    /// # Errors
    /// [`ApiFailure`] inside when the API refused; others when it could not be reached.
    pub fn call(&self, operation: &str, input: &Value) -> Result<Value> {
        let (status, body) = self.send(operation, input.to_string().as_bytes())?;
        let answer: Value = if body.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&body).context("the API's answer")?
        };
        if status == 200 {
            return Ok(answer);
        }
        let text = |names: &[&str]| {
            names
                .iter()
                .find_map(|name| answer.get(name)?.as_str())
                .unwrap_or_default()
                .to_owned()
        };
        Err(ApiFailure {
            status,
            code: text(&["__type"]),
            message: text(&["Message", "message"]),
        }
        .into())
    }

    /// Signs a body and sends it; returns status and body as they came.
    ///
    /// # Errors
    /// When the bridge cannot be reached or does not answer HTTP.
    pub fn send(&self, operation: &str, body: &[u8]) -> Result<(u16, Vec<u8>)> {
        let target = format!("AmazonSSM.{operation}");
        ApiConnection::open(self)?.exchange(&target, body)
    }

    /// Head and body of a signed request.
    fn request(&self, target: &str, body: &[u8]) -> Result<Vec<u8>> {
        let date = amz_date(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs());
        let host = self.address.to_string();
        let authorization = self.authorization(target, &date, &host, body);
        let head = format!(
            "POST / HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/x-amz-json-1.1\r\nx-amz-target: {target}\r\nx-amz-date: {date}\r\nauthorization: {authorization}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        Ok([head.as_bytes(), body].concat())
    }

    fn authorization(&self, target: &str, date: &str, host: &str, body: &[u8]) -> String {
        let signed = "content-type;host;x-amz-date;x-amz-target";
        let canonical = format!(
            "POST\n/\n\ncontent-type:application/x-amz-json-1.1\nhost:{host}\nx-amz-date:{date}\nx-amz-target:{target}\n\n{signed}\n{}",
            sha256(body)
        );
        let day = date.get(..8).unwrap_or_default();
        let scope = format!("{day}/{}/ssm/aws4_request", self.region);
        let to_sign = format!(
            "AWS4-HMAC-SHA256\n{date}\n{scope}\n{}",
            sha256(canonical.as_bytes())
        );
        let mut key = format!("AWS4{}", self.key.secret).into_bytes();
        for part in [day, &self.region, "ssm", "aws4_request"] {
            key = mac(&key, part);
        }
        let signature = hex::encode(mac(&key, &to_sign));
        format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={signed}, Signature={signature}",
            self.key.id
        )
    }
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(digest::digest(&digest::SHA256, bytes))
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes())
        .as_ref()
        .to_vec()
}

/// `YYYYMMDDTHHMMSSZ`. Days to a civil date after Howard Hinnant's `civil_from_days`.
fn amz_date(unix: u64) -> String {
    let (days, second) = (unix / 86_400 + 719_468, unix % 86_400);
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!(
        "{year:04}{month:02}{day:02}T{:02}{:02}{:02}Z",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

/// A connection to the API that is kept for several calls.
#[derive(Debug)]
pub struct ApiConnection {
    api: Api,
    stream: BufReader<TcpStream>,
}

impl ApiConnection {
    /// Connects.
    ///
    /// # Errors
    /// When the bridge cannot be reached.
    pub fn open(api: &Api) -> Result<Self> {
        let stream = TcpStream::connect(api.address).context("connecting to the API")?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            api: api.clone(),
            stream: BufReader::new(stream),
        })
    }

    /// Signs and sends a request with this `X-Amz-Target`; returns status and body as they came.
    ///
    /// # Errors
    /// When the bridge does not answer HTTP, or has closed the connection.
    pub fn exchange(&mut self, target: &str, body: &[u8]) -> Result<(u16, Vec<u8>)> {
        let request = self.api.request(target, body)?;
        self.stream.get_mut().write_all(&request)?;
        let status = self.line()?;
        let status = status
            .split(' ')
            .nth(1)
            .context("an HTTP status")?
            .parse()?;
        let mut length = 0;
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse()?;
            }
        }
        let mut body = vec![0; length];
        self.stream
            .read_exact(&mut body)
            .context("reading the API's answer")?;
        Ok((status, body))
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        let bytes = self.stream.read_line(&mut line)?;
        ensure!(bytes > 0, "the bridge closed the connection");
        Ok(line.trim_end().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_civil() {
        assert_eq!(amz_date(0), "19700101T000000Z");
        assert_eq!(amz_date(1_709_210_096), "20240229T123456Z");
    }
}
