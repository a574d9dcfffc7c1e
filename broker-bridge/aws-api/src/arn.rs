//! Amazon Resource Names: written for what the bridge manages, read from what a request names.
//! Never decides an account or a partition: they are configuration, and the region is the one a client signed for.

use std::fmt;

/// The partition and the account that ARNs are written with and read against.
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

/// Why an ARN names nothing that is here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ForeignArn {
    /// It does not have the parts of an ARN, or names another kind of resource.
    #[error("it is not the ARN of a {wanted}; such an ARN is {example}")]
    Form {
        /// The kind of resource that was asked for.
        wanted: &'static str,
        /// One that would be taken.
        example: String,
    },
    /// It lies in another partition.
    #[error("it is of partition '{given}', and this bridge's is '{ours}' (`serve --partition`)")]
    Partition {
        /// The ARN's.
        given: String,
        /// The bridge's.
        ours: String,
    },
    /// It lies in another region.
    #[error("it is of region '{given}', and the request was signed for '{ours}'")]
    Region {
        /// The ARN's.
        given: String,
        /// The caller's.
        ours: String,
    },
    /// It belongs to another account.
    #[error("it is of account '{given}', and this bridge's is '{ours}' (`serve --account-id`)")]
    Account {
        /// The ARN's.
        given: String,
        /// The bridge's.
        ours: String,
    },
}

/// The document that a request means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DocumentRef<'a> {
    /// Its name.
    pub name: &'a str,
    /// It was named by an ARN of the account's own: a document that comes with the service is not meant.
    pub is_own: bool,
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

    /// The document that a request means by its name, or by an ARN of this partition, of the region that the caller
    /// signed for, and of no account (a document that comes with the service) or this one.
    ///
    /// # Errors
    /// [`ForeignArn`]. What does not begin as an ARN is a name.
    pub fn document<'a>(
        &self,
        region: &str,
        name_or_arn: &'a str,
    ) -> Result<DocumentRef<'a>, ForeignArn> {
        if !is_arn(name_or_arn) {
            let name = name_or_arn;
            return Ok(DocumentRef {
                name,
                is_own: false,
            });
        }
        let example = Resource::BuiltInDocument("AWS-RunShellScript");
        let form = || ForeignArn::Form {
            wanted: "document",
            example: self.arn(region, example).to_string(),
        };
        let parts = Parts::of(name_or_arn).ok_or_else(form)?;
        let name = parts.names("ssm", "document/").ok_or_else(form)?;
        self.same_partition(&parts)?;
        same_region(&parts, region)?;
        let is_own = !parts.account.is_empty();
        if is_own {
            self.same_account(&parts)?;
        }
        Ok(DocumentRef { name, is_own })
    }

    /// The name of the role that a request means by its name, or by an ARN of this partition and account.
    ///
    /// # Errors
    /// [`ForeignArn`]. What does not begin as an ARN is a name.
    pub fn role<'a>(&self, name_or_arn: &'a str) -> Result<&'a str, ForeignArn> {
        if !is_arn(name_or_arn) {
            return Ok(name_or_arn);
        }
        let form = || ForeignArn::Form {
            wanted: "role",
            example: self.arn("", Resource::Role("NAME")).to_string(),
        };
        let parts = Parts::of(name_or_arn).ok_or_else(form)?;
        let name = parts.names("iam", "role/").ok_or_else(form)?;
        self.same_partition(&parts)?;
        // Roles are global.
        same_region(&parts, "")?;
        self.same_account(&parts)?;
        Ok(name)
    }

    fn same_partition(&self, parts: &Parts<'_>) -> Result<(), ForeignArn> {
        if parts.partition == self.partition {
            return Ok(());
        }
        Err(ForeignArn::Partition {
            given: parts.partition.to_owned(),
            ours: self.partition.clone(),
        })
    }

    fn same_account(&self, parts: &Parts<'_>) -> Result<(), ForeignArn> {
        if parts.account == self.id {
            return Ok(());
        }
        Err(ForeignArn::Account {
            given: parts.account.to_owned(),
            ours: self.id.clone(),
        })
    }
}

fn same_region(parts: &Parts<'_>, ours: &str) -> Result<(), ForeignArn> {
    if parts.region == ours {
        return Ok(());
    }
    Err(ForeignArn::Region {
        given: parts.region.to_owned(),
        ours: ours.to_owned(),
    })
}

/// Names of documents and roles have no colon, so nothing that begins like this is a name.
fn is_arn(text: &str) -> bool {
    text.starts_with("arn:")
}

/// The fields of an ARN: `arn:partition:service:region:account:resource`.
struct Parts<'a> {
    partition: &'a str,
    service: &'a str,
    region: &'a str,
    account: &'a str,
    resource: &'a str,
}

impl<'a> Parts<'a> {
    fn of(text: &'a str) -> Option<Self> {
        let mut fields = text.splitn(6, ':').skip(1);
        let mut next = || fields.next();
        Some(Self {
            partition: next()?,
            service: next()?,
            region: next()?,
            account: next()?,
            resource: next()?,
        })
    }

    /// The name of a resource of this service and kind.
    fn names(&self, service: &str, kind: &str) -> Option<&'a str> {
        let name = self.resource.strip_prefix(kind);
        name.filter(|name| self.service == service && !name.is_empty())
    }
}

/// What an ARN names, by its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource<'a> {
    /// A document that comes with the service; it has no account.
    BuiltInDocument(&'a str),
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
            Resource::BuiltInDocument(name) => {
                write!(f, "arn:{partition}:ssm:{region}::document/{name}")
            }
            Resource::Role(name) => write!(f, "arn:{partition}:iam::{id}:role/{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const REGION: &str = "eu-west-1";

    fn account() -> Account {
        Account::new("aws", "123456789012").unwrap()
    }

    #[test]
    fn names_resources_as_clients_expect() {
        let account = account();
        let arn = |resource| account.arn(REGION, resource).to_string();
        assert_eq!(
            arn(Resource::BuiltInDocument("AWS-RunShellScript")),
            "arn:aws:ssm:eu-west-1::document/AWS-RunShellScript"
        );
        assert_eq!(
            arn(Resource::Role("edge")),
            "arn:aws:iam::123456789012:role/edge"
        );
    }

    #[test]
    fn a_document_is_named_plainly_or_by_an_arn_of_this_account_and_region() {
        let account = account();
        let read = |text| account.document(REGION, text);
        let found = |name, is_own| Ok(DocumentRef { name, is_own });
        assert_eq!(read("mine"), found("mine", false));
        assert_eq!(
            read("arn:aws:ssm:eu-west-1::document/AWS-RunShellScript"),
            found("AWS-RunShellScript", false)
        );
        assert_eq!(
            read("arn:aws:ssm:eu-west-1:123456789012:document/mine"),
            found("mine", true)
        );
    }

    #[test]
    fn what_lies_elsewhere_is_refused_by_what_differs() {
        let account = account();
        let document = |text| account.document(REGION, text).unwrap_err();
        assert!(matches!(
            document("arn:aws-cn:ssm:eu-west-1::document/AWS-RunShellScript"),
            ForeignArn::Partition { given, ours } if given == "aws-cn" && ours == "aws"
        ));
        assert!(matches!(
            document("arn:aws:ssm:us-east-1::document/AWS-RunShellScript"),
            ForeignArn::Region { given, ours } if given == "us-east-1" && ours == REGION
        ));
        assert!(matches!(
            document("arn:aws:ssm:eu-west-1:210987654321:document/mine"),
            ForeignArn::Account { given, .. } if given == "210987654321"
        ));
        for text in [
            "arn:",
            "arn:aws:ssm:eu-west-1::document/",
            "arn:aws:ssm:eu-west-1::parameter/x",
            "arn:aws:s3:eu-west-1::document/x",
        ] {
            assert!(
                matches!(document(text), ForeignArn::Form { example, .. } if example.ends_with("::document/AWS-RunShellScript")),
                "{text}"
            );
        }
    }

    #[test]
    fn a_role_is_named_plainly_or_by_an_arn_of_this_account() {
        let account = account();
        assert_eq!(account.role("service-role/edge"), Ok("service-role/edge"));
        assert_eq!(
            account.role("arn:aws:iam::123456789012:role/a/b"),
            Ok("a/b")
        );
        assert!(matches!(
            account.role("arn:aws:iam::000000000000:role/edge"),
            Err(ForeignArn::Account { .. })
        ));
        assert!(matches!(
            account.role("arn:aws:iam:eu-west-1:123456789012:role/edge"),
            Err(ForeignArn::Region { .. })
        ));
        assert!(matches!(
            account.role("arn:aws:iam::123456789012:user/me"),
            Err(ForeignArn::Form { .. })
        ));
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

    proptest! {
        #[test]
        fn any_text_is_a_name_or_is_refused(text in "(arn:)?[a-z:/0-9-]{0,60}") {
            let account = account();
            if let Ok(found) = account.document(REGION, &text) {
                prop_assert!(text.ends_with(found.name));
            }
            let _ = account.role(&text);
        }
    }
}
