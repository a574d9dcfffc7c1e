//! Documents: their list, description and content.
//! Only shapes: never a rule beyond the types; the model's table holds those.

use super::Timestamp;
use super::shapes;
use super::tags::Tag;

shapes! {
    /// What `ListDocuments` is asked.
    pub struct ListDocumentsRequest {
        document_filter_list: Option<Vec<DocumentFilter>>,
        filters: Option<Vec<DocumentKeyValuesFilter>>,
        max_results: Option<i32>,
        next_token: Option<String>,
    }

    /// The older form of a document filter.
    pub struct DocumentFilter {
        #[serde(rename = "key")]
        key: String,
        #[serde(rename = "value")]
        value: String,
    }

    /// Narrows documents to those with one of these values; the key may be a tag.
    pub struct DocumentKeyValuesFilter {
        key: Option<String>,
        values: Option<Vec<String>>,
    }

    /// What `ListDocuments` answers.
    pub struct ListDocumentsResult {
        #[serde(default)]
        document_identifiers: Vec<DocumentIdentifier>,
        next_token: Option<String>,
    }

    /// A document as lists show it.
    pub struct DocumentIdentifier {
        name: Option<String>,
        created_date: Option<Timestamp>,
        display_name: Option<String>,
        owner: Option<String>,
        version_name: Option<String>,
        platform_types: Option<Vec<String>>,
        document_version: Option<String>,
        document_type: Option<String>,
        schema_version: Option<String>,
        document_format: Option<String>,
        target_type: Option<String>,
        tags: Option<Vec<Tag>>,
        requires: Option<Vec<DocumentRequires>>,
        review_status: Option<String>,
        author: Option<String>,
    }

    /// A document that another needs.
    pub struct DocumentRequires {
        name: String,
        version: Option<String>,
        require_type: Option<String>,
        version_name: Option<String>,
    }

    /// What `DescribeDocument` is asked.
    pub struct DescribeDocumentRequest {
        name: String,
        document_version: Option<String>,
        version_name: Option<String>,
    }

    /// What `DescribeDocument` answers.
    pub struct DescribeDocumentResult {
        document: Option<DocumentDescription>,
    }

    /// All about a document but its content.
    pub struct DocumentDescription {
        sha1: Option<String>,
        hash: Option<String>,
        hash_type: Option<String>,
        name: Option<String>,
        display_name: Option<String>,
        version_name: Option<String>,
        owner: Option<String>,
        created_date: Option<Timestamp>,
        status: Option<String>,
        status_information: Option<String>,
        document_version: Option<String>,
        description: Option<String>,
        parameters: Option<Vec<DocumentParameter>>,
        platform_types: Option<Vec<String>>,
        document_type: Option<String>,
        schema_version: Option<String>,
        latest_version: Option<String>,
        default_version: Option<String>,
        document_format: Option<String>,
        target_type: Option<String>,
        tags: Option<Vec<Tag>>,
        attachments_information: Option<Vec<AttachmentInformation>>,
        requires: Option<Vec<DocumentRequires>>,
        author: Option<String>,
        review_information: Option<Vec<ReviewInformation>>,
        approved_version: Option<String>,
        pending_review_version: Option<String>,
        review_status: Option<String>,
        category: Option<Vec<String>>,
        category_enum: Option<Vec<String>>,
    }

    /// A parameter that a document takes.
    pub struct DocumentParameter {
        name: Option<String>,
        r#type: Option<String>,
        description: Option<String>,
        default_value: Option<String>,
    }

    /// A file attached to a document.
    pub struct AttachmentInformation {
        name: Option<String>,
    }

    /// A review of a document.
    pub struct ReviewInformation {
        reviewed_time: Option<Timestamp>,
        status: Option<String>,
        reviewer: Option<String>,
    }

    /// What `GetDocument` is asked.
    pub struct GetDocumentRequest {
        name: String,
        version_name: Option<String>,
        document_version: Option<String>,
        document_format: Option<String>,
    }

    /// What `GetDocument` answers.
    pub struct GetDocumentResult {
        name: Option<String>,
        created_date: Option<Timestamp>,
        display_name: Option<String>,
        version_name: Option<String>,
        document_version: Option<String>,
        status: Option<String>,
        status_information: Option<String>,
        content: Option<String>,
        document_type: Option<String>,
        document_format: Option<String>,
        #[serde(default)]
        requires: Vec<DocumentRequires>,
        #[serde(default)]
        attachments_content: Vec<AttachmentContent>,
        review_status: Option<String>,
    }

    /// Where an attached file is to be had.
    pub struct AttachmentContent {
        name: Option<String>,
        size: Option<i64>,
        hash: Option<String>,
        hash_type: Option<String>,
        url: Option<String>,
    }
}
