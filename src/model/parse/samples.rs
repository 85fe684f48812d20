//! A dump that tests begin with, here and in `protocol`.

pub(crate) const ENV: &str = "ad99d259-1f50-4ed9-a002-7c65e25487df";
pub(crate) const OTHER_ENV: &str = "84e8a446-59bc-49f5-bd3a-12313237697e";
pub(crate) const SECRET: &str = "v3faJy3RCUO8d-EJiVdN6wWdKZrVAf2U6gAnxl4lSH3w";
pub(crate) const OTHER_SECRET: &str = "XarRURcPx0mp8-8VwuqjzQRqTohLxZ9Um9OhIxMjdpfg";
pub(crate) const ID: &str = "df81e704-e413-4d35-bdfc-72a64afa9de9";
pub(crate) const SEGMENT_ID: &str = "f05acdbd-c226-4a73-aec0-46c47ce3f21d";

/// A dump of one environment that has one of everything and gives no warning.
pub(crate) fn dump() -> serde_json::Value {
    serde_json::json!({
        "eventType": "rp_full",
        "items": [{
            "envId": ENV,
            "secrets": [
                {"type": "server", "projectKey": "webshop", "envId": ENV, "envKey": "dev", "value": SECRET}
            ],
            "featureFlags": [{
                "id": ID,
                "envId": ENV,
                "key": "checkout",
                "variationType": "boolean",
                "variations": [{"id": "on", "value": "true"}, {"id": "off", "value": "false"}],
                "targetUsers": [{"keyIds": ["ann", "bob"], "variationId": "on"}],
                "rules": [{
                    "name": "adults",
                    "dispatchKey": "country",
                    "includedInExpt": true,
                    "conditions": [
                        {"property": "User is in segment", "op": "", "value": format!("[\"{SEGMENT_ID}\"]")},
                        {"property": "age", "op": "BiggerThan", "value": "18"},
                        {"property": "city", "op": "IsOneOf", "value": "[\"Bern\",\"Oslo\"]"}
                    ],
                    "variations": [
                        {"id": "on", "rollout": [0, 0.25], "exptRollout": 0.25},
                        {"id": "off", "rollout": [0.25, 1], "exptRollout": 0.75}
                    ]
                }],
                "isEnabled": true,
                "disabledVariationId": "off",
                "fallthrough": {
                    "dispatchKey": null,
                    "includedInExpt": false,
                    "variations": [{"id": "off", "rollout": [0, 1], "exptRollout": 1}]
                },
                "exptIncludeAllTargets": true,
                "tags": ["a"],
                "updatedAt": "2025-03-01T00:00:04.0782311Z",
                "isArchived": false
            }],
            "segments": [{
                "id": SEGMENT_ID,
                "envId": ENV,
                "name": "regulars",
                "included": ["ann"],
                "excluded": ["bob", "cat"],
                "rules": [{"name": "r", "conditions": [{"property": "plan", "op": "Equal", "value": "pro"}]}],
                "updatedAt": "2025-03-01T00:00:05.000Z",
                "isArchived": false
            }]
        }]
    })
}
