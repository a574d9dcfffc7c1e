//! Tags, of whatever resource carries them.
//! Only shapes: never a rule beyond the types; the model's table holds those.

use super::shapes;

shapes! {
    /// What `AddTagsToResource` is asked.
    pub struct AddTagsToResourceRequest {
        resource_type: String,
        resource_id: String,
        tags: Vec<Tag>,
    }

    /// A label with a value.
    pub struct Tag {
        key: String,
        value: String,
    }

    /// What `AddTagsToResource` answers.
    pub struct AddTagsToResourceResult {}

    /// What `ListTagsForResource` is asked.
    pub struct ListTagsForResourceRequest {
        resource_type: String,
        resource_id: String,
    }

    /// What `ListTagsForResource` answers.
    pub struct ListTagsForResourceResult {
        #[serde(default)]
        tag_list: Vec<Tag>,
    }

    /// What `RemoveTagsFromResource` is asked.
    pub struct RemoveTagsFromResourceRequest {
        resource_type: String,
        resource_id: String,
        tag_keys: Vec<String>,
    }

    /// What `RemoveTagsFromResource` answers.
    pub struct RemoveTagsFromResourceResult {}
}
