//! Commands and their invocations.
//! Only shapes: never a rule beyond the types; the model's table holds those.

use super::shapes;
use super::{Parameters, Timestamp};

shapes! {
    /// What `SendCommand` is asked.
    pub struct SendCommandRequest {
        instance_ids: Option<Vec<String>>,
        targets: Option<Vec<Target>>,
        document_name: String,
        document_version: Option<String>,
        document_hash: Option<String>,
        document_hash_type: Option<String>,
        timeout_seconds: Option<i32>,
        comment: Option<String>,
        parameters: Option<Parameters>,
        output_s3_region: Option<String>,
        output_s3_bucket_name: Option<String>,
        output_s3_key_prefix: Option<String>,
        max_concurrency: Option<String>,
        max_errors: Option<String>,
        service_role_arn: Option<String>,
        notification_config: Option<NotificationConfig>,
        cloud_watch_output_config: Option<CloudWatchOutputConfig>,
        alarm_configuration: Option<AlarmConfiguration>,
    }

    /// Selects nodes by a key and its values.
    pub struct Target {
        key: Option<String>,
        values: Option<Vec<String>>,
    }

    /// Where to tell of a command's changes.
    pub struct NotificationConfig {
        notification_arn: Option<String>,
        notification_events: Option<Vec<String>>,
        notification_type: Option<String>,
    }

    /// Where output is logged.
    pub struct CloudWatchOutputConfig {
        cloud_watch_log_group_name: Option<String>,
        cloud_watch_output_enabled: Option<bool>,
    }

    /// The alarms that stop a command.
    pub struct AlarmConfiguration {
        ignore_poll_alarm_failure: Option<bool>,
        alarms: Vec<Alarm>,
    }

    /// An alarm by its name.
    pub struct Alarm {
        name: String,
    }

    /// What `SendCommand` answers.
    pub struct SendCommandResult {
        command: Option<Command>,
    }

    /// A command and its counts.
    pub struct Command {
        command_id: Option<String>,
        document_name: Option<String>,
        document_version: Option<String>,
        comment: Option<String>,
        expires_after: Option<Timestamp>,
        parameters: Option<Parameters>,
        instance_ids: Option<Vec<String>>,
        targets: Option<Vec<Target>>,
        requested_date_time: Option<Timestamp>,
        status: Option<String>,
        status_details: Option<String>,
        output_s3_region: Option<String>,
        output_s3_bucket_name: Option<String>,
        output_s3_key_prefix: Option<String>,
        max_concurrency: Option<String>,
        max_errors: Option<String>,
        target_count: Option<i32>,
        completed_count: Option<i32>,
        error_count: Option<i32>,
        delivery_timed_out_count: Option<i32>,
        service_role: Option<String>,
        notification_config: Option<NotificationConfig>,
        cloud_watch_output_config: Option<CloudWatchOutputConfig>,
        timeout_seconds: Option<i32>,
        alarm_configuration: Option<AlarmConfiguration>,
        triggered_alarms: Option<Vec<AlarmStateInformation>>,
    }

    /// An alarm that stopped a command.
    pub struct AlarmStateInformation {
        name: String,
        state: String,
    }

    /// What `ListCommands` is asked.
    pub struct ListCommandsRequest {
        command_id: Option<String>,
        instance_id: Option<String>,
        max_results: Option<i32>,
        next_token: Option<String>,
        filters: Option<Vec<CommandFilter>>,
    }

    /// Narrows commands or invocations by one value.
    pub struct CommandFilter {
        #[serde(rename = "key")]
        key: String,
        #[serde(rename = "value")]
        value: String,
    }

    /// What `ListCommands` answers.
    pub struct ListCommandsResult {
        #[serde(default)]
        commands: Vec<Command>,
        next_token: Option<String>,
    }

    /// What `ListCommandInvocations` is asked.
    pub struct ListCommandInvocationsRequest {
        command_id: Option<String>,
        instance_id: Option<String>,
        max_results: Option<i32>,
        next_token: Option<String>,
        filters: Option<Vec<CommandFilter>>,
        details: Option<bool>,
    }

    /// What `ListCommandInvocations` answers.
    pub struct ListCommandInvocationsResult {
        #[serde(default)]
        command_invocations: Vec<CommandInvocation>,
        next_token: Option<String>,
    }

    /// A command on one node.
    pub struct CommandInvocation {
        command_id: Option<String>,
        instance_id: Option<String>,
        instance_name: Option<String>,
        comment: Option<String>,
        document_name: Option<String>,
        document_version: Option<String>,
        requested_date_time: Option<Timestamp>,
        status: Option<String>,
        status_details: Option<String>,
        trace_output: Option<String>,
        standard_output_url: Option<String>,
        standard_error_url: Option<String>,
        command_plugins: Option<Vec<CommandPlugin>>,
        service_role: Option<String>,
        notification_config: Option<NotificationConfig>,
        cloud_watch_output_config: Option<CloudWatchOutputConfig>,
    }

    /// One step of an invocation, with its output.
    pub struct CommandPlugin {
        name: Option<String>,
        status: Option<String>,
        status_details: Option<String>,
        response_code: Option<i32>,
        response_start_date_time: Option<Timestamp>,
        response_finish_date_time: Option<Timestamp>,
        output: Option<String>,
        standard_output_url: Option<String>,
        standard_error_url: Option<String>,
        output_s3_region: Option<String>,
        output_s3_bucket_name: Option<String>,
        output_s3_key_prefix: Option<String>,
    }

    /// What `GetCommandInvocation` is asked.
    pub struct GetCommandInvocationRequest {
        command_id: String,
        instance_id: String,
        plugin_name: Option<String>,
    }

    /// What `GetCommandInvocation` answers.
    pub struct GetCommandInvocationResult {
        command_id: Option<String>,
        instance_id: Option<String>,
        comment: Option<String>,
        document_name: Option<String>,
        document_version: Option<String>,
        plugin_name: Option<String>,
        response_code: Option<i32>,
        execution_start_date_time: Option<String>,
        execution_elapsed_time: Option<String>,
        execution_end_date_time: Option<String>,
        status: Option<String>,
        status_details: Option<String>,
        standard_output_content: Option<String>,
        standard_output_url: Option<String>,
        standard_error_content: Option<String>,
        standard_error_url: Option<String>,
        cloud_watch_output_config: Option<CloudWatchOutputConfig>,
    }

    /// What `CancelCommand` is asked.
    pub struct CancelCommandRequest {
        command_id: String,
        instance_ids: Option<Vec<String>>,
    }

    /// What `CancelCommand` answers.
    pub struct CancelCommandResult {}
}
