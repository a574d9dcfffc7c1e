//! The keys and values of each operation's filters, as the service's reference lists them.
//! Never more than the bridge can apply.

use super::rules::{Rules, Values};
use crate::error::ApiError;

/// `DescribeActivations`.
pub(super) const ACTIVATIONS: Rules = Rules {
    operation: "DescribeActivations",
    keys: &[
        ("ActivationIds", Values::Any),
        ("DefaultInstanceName", Values::Any),
        ("IamRole", Values::Any),
    ],
    tags: false,
    wrong_key: ApiError::invalid_filter,
    wrong_value: ApiError::invalid_filter,
};

/// `DescribeInstanceInformation`, in both of its forms.
pub(super) const NODES: Rules = Rules {
    operation: "DescribeInstanceInformation",
    keys: &[
        ("ActivationIds", Values::Any),
        ("AgentVersion", Values::Any),
        (
            "AssociationStatus",
            Values::OneOf(&["Success", "Pending", "Failed"]),
        ),
        ("IamRole", Values::Any),
        ("InstanceIds", Values::Any),
        (
            "PingStatus",
            Values::OneOf(&["Online", "ConnectionLost", "Inactive"]),
        ),
        (
            "PlatformTypes",
            Values::OneOf(&["Windows", "Linux", "MacOS"]),
        ),
        (
            "ResourceType",
            Values::OneOf(&["EC2Instance", "ManagedInstance"]),
        ),
        ("SourceIds", Values::Any),
        ("SourceTypes", Values::Any),
    ],
    tags: true,
    wrong_key: ApiError::invalid_filter_key,
    wrong_value: ApiError::invalid_instance_information_filter_value,
};

/// `ListCommands`. Of the errors it declares only the key's fits a wrong value.
pub(super) const COMMANDS: Rules = Rules {
    operation: "ListCommands",
    keys: &[
        ("InvokedAfter", Values::NotBefore),
        ("InvokedBefore", Values::Before),
        (
            "Status",
            Values::OneOf(&[
                "Pending",
                "InProgress",
                "Success",
                "Cancelling",
                "Cancelled",
                "Failed",
                "TimedOut",
                "AccessDenied",
                "DeliveryTimedOut",
                "ExecutionTimedOut",
                "Incomplete",
                "NoInstancesInTag",
                "LimitExceeded",
                "RateExceeded",
            ]),
        ),
        ("ExecutionStage", Values::OneOf(&["Executing", "Complete"])),
        ("DocumentName", Values::Any),
    ],
    tags: false,
    wrong_key: ApiError::invalid_filter_key,
    wrong_value: ApiError::invalid_filter_key,
};

/// `ListCommandInvocations`: without the stage, which is a command's.
pub(super) const INVOCATIONS: Rules = Rules {
    operation: "ListCommandInvocations",
    keys: &[
        ("InvokedAfter", Values::NotBefore),
        ("InvokedBefore", Values::Before),
        (
            "Status",
            Values::OneOf(&[
                "Pending",
                "InProgress",
                "Delayed",
                "Success",
                "Cancelling",
                "Cancelled",
                "Failed",
                "TimedOut",
                "AccessDenied",
                "DeliveryTimedOut",
                "ExecutionTimedOut",
                "Undeliverable",
                "InvalidPlatform",
                "Terminated",
            ]),
        ),
        ("DocumentName", Values::Any),
    ],
    ..COMMANDS
};

/// `ListDocuments`, in both of its forms.
pub(super) const DOCUMENTS: Rules = Rules {
    operation: "ListDocuments",
    keys: &[
        ("DocumentType", Values::Any),
        ("Name", Values::Prefix),
        (
            "Owner",
            Values::OneOf(&["Amazon", "Private", "Public", "Self", "ThirdParty", "All"]),
        ),
        (
            "PlatformTypes",
            Values::OneOf(&["Linux", "Windows", "MacOS"]),
        ),
        ("TargetType", Values::Any),
    ],
    tags: true,
    wrong_key: ApiError::invalid_filter_key,
    wrong_value: ApiError::invalid_filter_key,
};

/// `DescribeInstancePatches`. States are spelt as in the reply, or as the service's guide spells them.
pub(super) const PATCHES: Rules = Rules {
    operation: "DescribeInstancePatches",
    keys: &[
        ("Classification", Values::Any),
        ("KBId", Values::Any),
        ("Severity", Values::Any),
        ("State", Values::PatchState),
    ],
    tags: false,
    wrong_key: ApiError::invalid_filter,
    wrong_value: ApiError::invalid_filter,
};

const COMPLIANCE_STATUSES: Values = Values::OneOf(&["COMPLIANT", "NON_COMPLIANT"]);
const SEVERITIES: Values = Values::OneOf(&[
    "CRITICAL",
    "HIGH",
    "MEDIUM",
    "LOW",
    "INFORMATIONAL",
    "UNSPECIFIED",
]);

/// `ListComplianceItems`: the attributes of an item that are not times.
pub(super) const COMPLIANCE_ITEMS: Rules = Rules {
    operation: "ListComplianceItems",
    keys: &[
        ("Classification", Values::Any),
        ("ComplianceType", Values::Any),
        ("DocumentName", Values::Any),
        ("DocumentVersion", Values::Any),
        ("ExecutionId", Values::Any),
        ("ExecutionType", Values::Any),
        ("Id", Values::Any),
        ("PatchBaselineId", Values::Any),
        ("PatchGroup", Values::Any),
        ("PatchSeverity", Values::Any),
        ("PatchState", Values::Any),
        ("Severity", SEVERITIES),
        ("Status", COMPLIANCE_STATUSES),
        ("Title", Values::Any),
    ],
    tags: false,
    wrong_key: ApiError::invalid_filter,
    wrong_value: ApiError::invalid_filter,
};

/// `ListComplianceSummaries`.
pub(super) const COMPLIANCE_SUMMARIES: Rules = Rules {
    operation: "ListComplianceSummaries",
    keys: &[
        ("ComplianceType", Values::Any),
        ("OverallSeverity", SEVERITIES),
        ("PatchBaselineId", Values::Any),
        ("PatchGroup", Values::Any),
        ("Status", COMPLIANCE_STATUSES),
    ],
    ..COMPLIANCE_ITEMS
};

/// `ListResourceComplianceSummaries`.
pub(super) const RESOURCE_COMPLIANCE_SUMMARIES: Rules = Rules {
    operation: "ListResourceComplianceSummaries",
    ..COMPLIANCE_SUMMARIES
};
