//! Amazon Resource Names of what the bridge manages.
//! Never decides an account or a partition: they are configuration, and the region is the one a client signed for.

use std::fmt;

/// The partition and the account that ARNs are written with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    partition: String,
    id: String,
}

/// Why an account is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccountError {
    /// The partition is not one.
    #[error(
        "{0:?} is not a partition: `aws`, or `aws-` and small letters or dashes, such as `aws-cn`"
    )]
    Partition(String),
    /// The account is not one.
    #[error("{0:?} is not an account id: 12 digits are wanted, such as 000000000000")]
    Id(String),
}

impl Account {
    /// An account of 12 digits in a partition, `aws` or one that begins with `aws-`.
    ///
    /// # Errors
    /// [`AccountError`], with the text at fault.
    pub fn new(partition: &str, id: &str) -> Result<Self, AccountError> {
        let suffix = partition.strip_prefix("aws");
        let named = |text: &str| {
            text.is_empty()
                || (text.starts_with('-')
                    && text.len() <= 20
                    && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'))
        };
        if !suffix.is_some_and(named) {
            return Err(AccountError::Partition(partition.to_owned()));
        }
        if id.len() != 12 || !id.bytes().all(|b| b.is_ascii_digit()) {
            return Err(AccountError::Id(id.to_owned()));
        }
        Ok(Self {
            partition: partition.to_owned(),
            id: id.to_owned(),
        })
    }

    /// The 12 digits.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The ARN of a resource in the region a client signed for.
    #[must_use]
    pub fn arn<'a>(&'a self, region: &'a str, resource: Resource<'a>) -> Arn<'a> {
        Arn {
            account: self,
            region,
            resource,
        }
    }
}

/// What an ARN names, by its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource<'a> {
    /// A node, `mi-…`.
    Node(&'a str),
    /// A document of the account's own.
    Document(&'a str),
    /// A document that comes with the service; it has no account.
    BuiltInDocument(&'a str),
    /// A patch baseline, `pb-…`.
    PatchBaseline(&'a str),
    /// A role, by its name; roles are global, so no region shows.
    Role(&'a str),
}

/// An ARN, to be written with `to_string`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arn<'a> {
    account: &'a Account,
    region: &'a str,
    resource: Resource<'a>,
}

impl fmt::Display for Arn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Account { partition, id } = self.account;
        let region = self.region;
        match self.resource {
            Resource::Node(node) => write!(
                f,
                "arn:{partition}:ssm:{region}:{id}:managed-instance/{node}"
            ),
            Resource::Document(name) => {
                write!(f, "arn:{partition}:ssm:{region}:{id}:document/{name}")
            }
            Resource::BuiltInDocument(name) => {
                write!(f, "arn:{partition}:ssm:{region}::document/{name}")
            }
            Resource::PatchBaseline(baseline) => {
                write!(
                    f,
                    "arn:{partition}:ssm:{region}:{id}:patchbaseline/{baseline}"
                )
            }
            Resource::Role(name) => write!(f, "arn:{partition}:iam::{id}:role/{name}"),
        }
    }
}

/// The name of the document that a request means: its own name, or the one at the end of its ARN.
#[must_use]
pub fn document_name(name_or_arn: &str) -> &str {
    match name_or_arn.split_once(":document/") {
        Some((prefix, name)) if prefix.starts_with("arn:") => name,
        Some(_) | None => name_or_arn,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_resources_as_clients_expect() {
        let account = Account::new("aws", "123456789012").unwrap();
        let arn = |resource| account.arn("eu-west-1", resource).to_string();
        assert_eq!(
            arn(Resource::Node("mi-0123456789abcdef0")),
            "arn:aws:ssm:eu-west-1:123456789012:managed-instance/mi-0123456789abcdef0"
        );
        assert_eq!(
            arn(Resource::BuiltInDocument("AWS-RunShellScript")),
            "arn:aws:ssm:eu-west-1::document/AWS-RunShellScript"
        );
        assert_eq!(
            arn(Resource::Role("edge")),
            "arn:aws:iam::123456789012:role/edge"
        );
        assert_eq!(document_name(&arn(Resource::Document("mine"))), "mine");
        assert_eq!(document_name("mine"), "mine");
    }

    #[test]
    fn refuses_what_is_no_account_or_partition() {
        assert!(Account::new("aws-us-gov", "000000000000").is_ok());
        for partition in ["", "azure", "aws:", "awsx", "aws-CN"] {
            assert!(
                matches!(
                    Account::new(partition, "000000000000"),
                    Err(AccountError::Partition(_))
                ),
                "{partition}"
            );
        }
        for id in ["", "12345678901", "1234567890123", "12345678901x"] {
            assert!(
                matches!(Account::new("aws", id), Err(AccountError::Id(_))),
                "{id}"
            );
        }
    }
}
