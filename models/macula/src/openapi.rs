//! What is promised about the HTTP API beside its routes: the document's head, and the forms of what is read by hand.

use std::collections::BTreeMap;

use model_server::{batch_schema, openapi_text};
use serde::Deserialize;
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Schema, SchemaType, Type};
use utoipa::openapi::{OpenApi, RefOr};
use utoipa::{IntoParams, OpenApi as _, PartialSchema, ToSchema};

use crate::answer::Answer;
use crate::feature_set::Sources;
use crate::options;
use crate::request::MAX_BODY_ITEMS;

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Macula",
        description = "Scores threat indicators: IP addresses and ranges, domains, URLs, e-mail addresses and file hashes.",
    ),
    tags(
        (name = "scores", description = "Scores and their reasons."),
        (name = "inspection", description = "By what is scored."),
        (name = "probes", description = "For probes, people and Prometheus."),
    ),
)]
struct Head;

/// The document without its routes.
pub(crate) fn head() -> OpenApi {
    let mut document = Head::openapi();
    // The authors' addresses and the licence are the workspace's; callers need neither.
    document.info.contact = None;
    document
}

/// The document of a process that has sources of features of its own.
pub(crate) fn text_with(document: &OpenApi, sources: &Sources) -> String {
    let quoted = |sources| serde_json::Value::from(options::features_pattern(sources)).to_string();
    text(document).replace(&quoted(&Sources::default()), &quoted(sources))
}

/// The document as text.
pub(crate) fn text(document: &OpenApi) -> String {
    let mut document = document.clone();
    // With `strict` it depends on the query string whether a body is good, which no schema can say.
    let post = document
        .paths
        .paths
        .get_mut("/apply")
        .and_then(|path| path.post.as_mut());
    if let Some(parameters) = post.and_then(|post| post.parameters.as_mut()) {
        parameters.retain(|parameter| !matches!(parameter, RefOr::T(it) if it.name == "strict"));
    }
    openapi_text(&document)
}

/// The answers, each under the caller's own text.
#[derive(ToSchema)]
#[schema(value_type = BTreeMap<String, Answer>)]
pub(crate) struct ScoreAnswers(
    #[expect(dead_code, reason = "only its schema is of use")] BTreeMap<String, Answer<'static>>,
);

/// Indicators to score: an array, or an object that has options, too.
#[derive(Deserialize, ToSchema)]
#[expect(dead_code, reason = "only its schema is of use")]
#[serde(untagged)]
pub(crate) enum ScoreBody {
    Indicators(Indicators),
    WithOptions(ScoreObject),
}

/// Strings, or objects with an `indicator` and perhaps a `type`. Anything else is answered with its own error.
#[derive(Deserialize)]
pub(crate) struct Indicators(
    #[expect(dead_code, reason = "only its schema is of use")] Vec<serde_json::Value>,
);

impl PartialSchema for Indicators {
    fn schema() -> RefOr<Schema> {
        batch_schema(MAX_BODY_ITEMS).into()
    }
}

impl ToSchema for Indicators {}

/// Indicators and options.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is of use")]
pub(crate) struct ScoreObject {
    indicators: Indicators,
    /// The same as in the query string; they take their place.
    options: Option<BodyOptions>,
}

/// Options in a body.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is of use")]
pub(crate) struct BodyOptions {
    #[serde(rename = "useCache")]
    use_cache: Option<bool>,
    #[serde(rename = "useWhitelist")]
    use_whitelist: Option<bool>,
    #[serde(rename = "useBlacklist")]
    use_blacklist: Option<bool>,
    #[serde(rename = "useRule")]
    use_rule: Option<bool>,
    #[schema(maximum = 1000)]
    domain_pivot: Option<u16>,
    summary: Option<bool>,
    explain: Option<bool>,
    #[schema(maximum = 1000)]
    explain_items: Option<u16>,
    #[schema(schema_with = kind_or_null)]
    r#type: Option<String>,
    #[schema(schema_with = features_or_null)]
    features: Option<String>,
    #[schema(schema_with = features_or_null)]
    exclude: Option<String>,
    #[schema(schema_with = overrides_or_null)]
    overrides: Option<BTreeMap<String, serde_json::Value>>,
    #[serde(rename = "useFeatureCache")]
    use_feature_cache: Option<bool>,
    offline: Option<bool>,
    #[schema(schema_with = tlp_or_null)]
    tlp: Option<String>,
    #[schema(schema_with = pap_or_null)]
    pap: Option<String>,
    strict: Option<bool>,
}

/// The value of a feature, or none.
pub(crate) fn value_or_null() -> Schema {
    let types = [Type::Number, Type::Boolean, Type::String, Type::Null];
    ObjectBuilder::new()
        .schema_type(types.into_iter().collect::<SchemaType>())
        .description(Some("Its value; null if it had none."))
        .into()
}

/// Values of features by their names, or none.
pub(crate) fn values_or_null() -> Schema {
    let types = [Type::Number, Type::Boolean, Type::String];
    let value = ObjectBuilder::new().schema_type(types.into_iter().collect::<SchemaType>());
    let types = [Type::Object, Type::Null];
    ObjectBuilder::new()
        .schema_type(types.into_iter().collect::<SchemaType>())
        .description(Some(
            "The values of features that the caller told, if there are any.",
        ))
        .additional_properties(Some(Schema::from(value)))
        .into()
}

fn kind_or_null() -> Schema {
    or_null(options::kind_schema())
}

fn tlp_or_null() -> Schema {
    or_null(options::tlp_schema())
}

fn pap_or_null() -> Schema {
    or_null(options::pap_schema())
}

fn features_or_null() -> Schema {
    or_null(options::features_schema())
}

fn overrides_or_null() -> Schema {
    or_null(options::overrides_schema())
}

fn or_null(schema: Schema) -> Schema {
    let null = ObjectBuilder::new().schema_type(SchemaType::Type(Type::Null));
    OneOfBuilder::new().item(schema).item(null).into()
}

/// The one indicator of `/apply`: exactly one of these.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only its schema is of use")]
pub(crate) struct ApplyArguments {
    /// The indicator. Instead of it `host`, `ip`, `url`, `domain`, `hash`, `email` or `cidr` may be given.
    #[param(example = "evil.example")]
    indicator: String,
}

/// The one indicator of `/apply`, with options beside it.
#[derive(Deserialize, ToSchema)]
#[expect(dead_code, reason = "only its schema is of use")]
pub(crate) struct ApplyBody {
    /// The indicator. Instead of it `host`, `ip`, `url`, `domain`, `hash`, `email` or `cidr` may be given.
    indicator: String,
}
