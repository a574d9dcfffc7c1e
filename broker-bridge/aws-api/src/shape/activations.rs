//! Activations: the permits under which nodes enrol.
//! Only shapes: never a rule beyond the types; the model's table holds those.

use super::shapes;
use super::tags::Tag;
use super::{Sensitive, Timestamp};

shapes! {
    /// What `CreateActivation` is asked.
    pub struct CreateActivationRequest {
        description: Option<String>,
        default_instance_name: Option<String>,
        iam_role: String,
        registration_limit: Option<i32>,
        expiration_date: Option<Timestamp>,
        tags: Option<Vec<Tag>>,
        registration_metadata: Option<Vec<RegistrationMetadataItem>>,
    }

    /// A label of a registration; the service keeps it for its own use.
    pub struct RegistrationMetadataItem {
        key: String,
        value: String,
    }

    /// What `CreateActivation` answers.
    pub struct CreateActivationResult {
        activation_id: Option<String>,
        activation_code: Option<Sensitive<String>>,
    }

    /// What `DescribeActivations` is asked.
    pub struct DescribeActivationsRequest {
        filters: Option<Vec<DescribeActivationsFilter>>,
        max_results: Option<i32>,
        next_token: Option<String>,
    }

    /// Narrows activations to those with one of these values.
    pub struct DescribeActivationsFilter {
        filter_key: Option<String>,
        filter_values: Option<Vec<String>>,
    }

    /// What `DescribeActivations` answers.
    pub struct DescribeActivationsResult {
        #[serde(default)]
        activation_list: Vec<Activation>,
        next_token: Option<String>,
    }

    /// A permit to enrol, without its code.
    pub struct Activation {
        activation_id: Option<String>,
        description: Option<String>,
        default_instance_name: Option<String>,
        iam_role: Option<String>,
        registration_limit: Option<i32>,
        registrations_count: Option<i32>,
        expiration_date: Option<Timestamp>,
        expired: Option<bool>,
        created_date: Option<Timestamp>,
        tags: Option<Vec<Tag>>,
    }

    /// What `DeleteActivation` is asked.
    pub struct DeleteActivationRequest {
        activation_id: String,
    }

    /// What `DeleteActivation` answers.
    pub struct DeleteActivationResult {}
}
