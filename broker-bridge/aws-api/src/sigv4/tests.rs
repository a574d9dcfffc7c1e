//! The published vectors of Signature Version 4, and what each refusal answers.

use proptest::prelude::*;

use super::*;

const KEY_ID: &str = "AKIDEXAMPLE";
const KEY_SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const WHEN: &str = "20150830T123600Z";

fn now() -> Timestamp {
    "2015-08-30T12:36:00Z".parse().unwrap()
}

fn keys(id: &AccessKeyId) -> Option<KeyRecord> {
    let known = |enabled, name: &str| KeyRecord {
        secret: Secret::new(KEY_SECRET.to_owned()),
        enabled,
        name: name.to_owned(),
    };
    match id.as_str() {
        KEY_ID => Some(known(true, "operator")),
        "AKIDDISABLED" => Some(known(false, "former")),
        _ => None,
    }
}

fn header(signed: &str, signature: &str) -> String {
    format!(
        "AWS4-HMAC-SHA256 Credential={KEY_ID}/20150830/us-east-1/service/aws4_request, SignedHeaders={signed}, \
         Signature={signature}"
    )
}

/// Verifies one vector of the published suite: every one is of this host, time, key and scope.
fn vector(
    method: &str,
    target: &str,
    extra: &[(&str, &str)],
    body: &str,
    signed: &str,
    signature: &str,
) {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let authorization = header(signed, signature);
    let mut headers = vec![("Host", "example.amazonaws.com"), ("X-Amz-Date", WHEN)];
    headers.extend(extra);
    headers.push(("Authorization", &authorization));
    let request = RequestParts {
        method,
        path,
        query,
        headers: &headers,
        body: body.as_bytes(),
    };
    let caller = authenticate_for("service", &request, now(), keys);
    assert_eq!(
        caller.map(|caller| caller.region),
        Ok("us-east-1".to_owned()),
        "{method} {target}"
    );
}

#[test]
fn accepts_the_published_vectors() {
    const PLAIN: &str = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31";
    let get = |target, signature| vector("GET", target, &[], "", "host;x-amz-date", signature);
    get("/", PLAIN);
    for same in ["//", "/./", "/example/..", "/example1/example2/../.."] {
        get(same, PLAIN);
    }
    get(
        "/?Param2=value2&Param1=value1",
        "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
    );
    get(
        "/?Param1=value1",
        "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb",
    );
    get(
        "/\u{1234}",
        "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85",
    );
    get(
        "/example space/",
        "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741",
    );
    vector(
        "POST",
        "/",
        &[],
        "",
        "host;x-amz-date",
        "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
    );
    vector(
        "POST",
        "/",
        &[("Content-Type", "application/x-www-form-urlencoded")],
        "Param1=value1",
        "content-type;host;x-amz-date",
        "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
    );
    vector(
        "GET",
        "/",
        &[("My-Header1", " value1"), ("My-Header2", " \"a   b   c\"")],
        "",
        "host;my-header1;my-header2;x-amz-date",
        "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
    );
}

/// A request to this service, signed here, that a test then spoils.
struct Sent {
    key_id: &'static str,
    secret: &'static str,
    date: String,
    signed: Vec<&'static str>,
    scope_service: &'static str,
    body: &'static str,
}

impl Default for Sent {
    fn default() -> Self {
        Self {
            key_id: KEY_ID,
            secret: KEY_SECRET,
            date: WHEN.to_owned(),
            signed: vec!["content-type", "host", "x-amz-date", "x-amz-target"],
            scope_service: "ssm",
            body: "{}",
        }
    }
}

impl Sent {
    /// Signs, then hands the headers and the body over to be received as `received_body`.
    fn received(&self, received_body: &str) -> Result<Caller, ApiError> {
        let headers = [
            ("host", "bridge:8080"),
            ("content-type", "application/x-amz-json-1.1"),
            ("x-amz-date", self.date.as_str()),
            ("x-amz-target", "AmazonSSM.ListCommands"),
        ];
        let parts = |headers, body| RequestParts {
            method: "POST",
            path: "/",
            query: "",
            headers,
            body,
        };
        let mut authorization = Authorization {
            access_key_id: self.key_id,
            date: &self.date[..8],
            region: "eu-central-1",
            service: self.scope_service,
            terminator: TERMINATOR,
            signed_headers: self.signed.clone(),
            signature: [0; 32],
        };
        let secret = Secret::new(self.secret.to_owned());
        let sent = parts(&headers, self.body.as_bytes());
        authorization.signature = signature(&secret, &authorization, &self.date, &sent).unwrap();
        let value = format!(
            "{ALGORITHM} Credential={}/{}, SignedHeaders={}, Signature={}",
            self.key_id,
            authorization.scope(),
            self.signed.join(";"),
            hex::encode(authorization.signature)
        );
        let mut headers = headers.to_vec();
        headers.push(("authorization", &value));
        authenticate(&parts(&headers, received_body.as_bytes()), now(), keys)
    }

    fn refused(&self) -> String {
        self.received(self.body).unwrap_err().to_string()
    }
}

#[test]
fn tells_who_signed_and_for_which_region() {
    let caller = Sent::default().received("{}").unwrap();
    assert_eq!(
        (caller.access_key_id.as_str(), caller.name.as_str()),
        (KEY_ID, "operator")
    );
    assert_eq!(caller.region, "eu-central-1");
}

#[test]
fn a_tampered_body_and_a_wrong_secret_do_not_match() {
    for error in [
        Sent::default().received("{ }").unwrap_err(),
        Sent {
            secret: "guess",
            ..Sent::default()
        }
        .received("{}")
        .unwrap_err(),
    ] {
        assert_eq!(error.code(), "InvalidSignatureException");
        assert!(
            error
                .message()
                .starts_with("The request signature we calculated does not match")
        );
    }
}

#[test]
fn an_unknown_and_a_disabled_key_are_answered_alike() {
    for key_id in ["AKIDOTHER", "AKIDDISABLED", "not-a-key"] {
        assert_eq!(
            Sent {
                key_id,
                ..Sent::default()
            }
            .refused(),
            "UnrecognizedClientException: The security token included in the request is invalid."
        );
    }
}

#[test]
fn a_time_more_than_five_minutes_off_is_refused_with_both_times() {
    let at = |date: &str| Sent {
        date: date.to_owned(),
        ..Sent::default()
    };
    assert!(at("20150830T123100Z").received("{}").is_ok());
    assert!(at("20150830T124100Z").received("{}").is_ok());
    assert_eq!(
        at("20150830T123059Z").refused(),
        "InvalidSignatureException: Signature expired: 20150830T123059Z is now earlier than 20150830T123100Z \
         (20150830T123600Z - 5 min.)"
    );
    assert_eq!(
        at("20150830T124101Z").refused(),
        "InvalidSignatureException: Signature not yet current: 20150830T124101Z is still later than 20150830T124100Z \
         (20150830T123600Z + 5 min.)"
    );
}

#[test]
fn another_service_or_an_unsigned_operation_is_refused() {
    assert_eq!(
        Sent {
            scope_service: "ec2",
            ..Sent::default()
        }
        .refused(),
        "InvalidSignatureException: Credential should be scoped to correct service: 'ssm'."
    );
    for (left_out, signed) in [
        ("Host", vec!["content-type", "x-amz-date", "x-amz-target"]),
        ("x-amz-target", vec!["content-type", "host", "x-amz-date"]),
        ("x-amz-date", vec!["host", "x-amz-target"]),
        (
            "x-unsent",
            vec!["host", "x-amz-date", "x-amz-target", "x-unsent"],
        ),
    ] {
        let refused = Sent {
            signed,
            ..Sent::default()
        }
        .refused();
        assert!(
            refused.starts_with("InvalidSignatureException") && refused.contains(left_out),
            "{refused}"
        );
    }
}

fn presented_as(query: &str, headers: &[(&str, &str)]) -> String {
    let request = RequestParts {
        method: "POST",
        path: "/",
        query,
        headers,
        body: b"{}",
    };
    authenticate(&request, now(), keys).unwrap_err().to_string()
}

#[test]
fn a_missing_or_malformed_signature_is_named() {
    assert_eq!(
        presented_as("", &[("host", "b")]),
        "MissingAuthenticationTokenException: Missing Authentication Token"
    );
    assert!(
        presented_as("X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=ab", &[])
            .contains("presigned URL")
    );
    let credential = format!("Credential={KEY_ID}/20150830/eu-central-1/ssm/aws4_request");
    let good = format!(
        "{ALGORITHM} {credential}, SignedHeaders=host, Signature={}",
        "0".repeat(64)
    );
    for (header, part) in [
        (
            "Basic dXNlcjpwYXNz".to_owned(),
            "Unsupported AWS 'algorithm'",
        ),
        (
            ALGORITHM.to_owned(),
            "requires 'Credential' parameter. Authorization header requires 'SignedHeaders'",
        ),
        (good.replace(", Signature", ", Sig"), "a parameter is not"),
        (format!("{good}, {credential}"), "given twice"),
        (
            good.replace("/ssm", ""),
            "ACCESS_KEY_ID/DATE/REGION/SERVICE",
        ),
        (good.replace("=host", "=x-amz-date;host"), "sorted"),
        (good.replace("=host", "=Host"), "small letters"),
        (
            good.replace("Signature=00", "Signature=0g"),
            "64 hexadecimal",
        ),
        ("x".repeat(5000), "longer than 4096"),
        (good, "requires existence of either"),
    ] {
        let refused = presented_as("", &[("host", "b"), ("authorization", &header)]);
        assert!(
            refused.starts_with("IncompleteSignatureException") && refused.contains(part),
            "{refused}"
        );
    }
}

#[test]
fn a_session_token_is_not_valid_here() {
    let header = header("host;x-amz-date", &"0".repeat(64));
    let refused = presented_as(
        "",
        &[("authorization", &header), ("x-amz-security-token", "t")],
    );
    assert!(
        refused.starts_with("UnrecognizedClientException"),
        "{refused}"
    );
}

#[test]
fn a_key_record_never_shows_its_secret() {
    let id = AccessKeyId::parse(KEY_ID).unwrap();
    assert!(!format!("{:?}", keys(&id)).contains("wJalr"));
}

#[test]
fn accepts_a_request_as_botocore_signs_it() {
    // Recorded from botocore 1.43.11, its clock set to the suite's.
    let headers = [
        ("Host", "127.0.0.1:8080"),
        ("X-Amz-Target", "AmazonSSM.SendCommand"),
        ("Content-Type", "application/x-amz-json-1.1"),
        ("X-Amz-Date", WHEN),
        (
            "Authorization",
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/eu-central-1/ssm/aws4_request, \
             SignedHeaders=content-type;host;x-amz-date;x-amz-target, \
             Signature=b8da32d52a8ab9d771428279aaf030944833335bca2f98b0827f7559b162a669",
        ),
        ("amz-sdk-request", "attempt=1"),
    ];
    let body = br#"{"DocumentName": "AWS-RunShellScript", "InstanceIds": ["mi-0123456789abcdef0"], "Parameters": {"commands": ["echo \"\u00fc\""]}}"#;
    let received = |path| {
        let request = RequestParts {
            method: "POST",
            path,
            query: "",
            headers: &headers,
            body,
        };
        authenticate(&request, now(), keys)
    };
    assert_eq!(received("/").unwrap().region, "eu-central-1");
    assert_eq!(
        received("/output").unwrap_err().code(),
        "InvalidSignatureException"
    );
}

proptest! {
    #[test]
    fn any_mutated_header_is_refused(at in 0_usize..300, with in "[ -~]{0,3}", path in ".{0,20}", query in ".{0,20}") {
        let mut authorization = header("host;x-amz-date", &"5f".repeat(32));
        let at = at % authorization.len();
        authorization.replace_range(at..=at, &with);
        let headers = [("host", "b"), ("x-amz-date", WHEN), ("authorization", authorization.as_str())];
        let request = RequestParts { method: "GET", path: &path, query: &query, headers: &headers, body: b"" };
        prop_assert!(authenticate_for("service", &request, now(), keys).is_err());
    }
}
